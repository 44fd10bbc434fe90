"""Upgrade steps of stored settings, of runs and of detectors.

Every file with settings stores their version under `settings_version`: a key of the settings in
checkpoints, detectors and `settings.json` of a run folder, of `recipe.json` in a node store, and of the metadata of
ONNX files. A file without it is of version 0.
A reader calls `upgraded` on the stored values before the settings are typed.

To rename, remove or replace a key, append a step to the list; `moved`, `removed` and `added` do most of it:

    Step(1, lambda raw: moved(raw, "train.epochs", "train.local_epochs"))

A new key with a default needs no step. Steps are never changed after a release.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from app.settings.checks import SettingsError

KEY = "settings_version"
Raw = dict[str, Any]


class SettingsVersionError(SettingsError):
    """Settings of a version unknown to this program."""


class Step(NamedTuple):
    """One upgrade.

    Args:
        version: of the settings afterwards.
        upgrade: changes nested dictionaries of the version before in place. Values may be of any type: a file may be
            damaged, and an invalid value is reported when the settings are typed.
    """

    version: int
    upgrade: Callable[[Raw], None]


class Steps(NamedTuple):
    """The upgrades of one kind of settings, oldest first; the last one's version is that of files written now."""

    kind: str
    steps: tuple[Step, ...] = ()

    @property
    def version(self) -> int:
        """Version of settings written now."""
        return self.steps[-1].version if self.steps else 0

    def upgraded(self, where: object, version: object, raw: object) -> Raw:
        """Stored settings in today's form; `raw` stays as it is.

        Args:
            where: the file, for errors.
            version: as stored in the file, a whole number or its digits; None without one.

        Raises SettingsVersionError for a newer version than this program's, SettingsError for damaged settings."""
        held = _number(where, version)
        if held > self.version:
            raise SettingsVersionError(
                f"{where} holds settings of a {self.kind} of version {held}, this program knows them up to "
                f"{self.version}: use the version of the project that wrote the file, or a newer one"
            )
        if not isinstance(raw, dict):
            raise SettingsError(f"{where}: its settings are no JSON object")
        settings = copy.deepcopy(raw)
        for step in self.steps:
            if step.version > held:
                step.upgrade(settings)
        return settings


def _without_packed_bfv(raw: Raw) -> None:
    """Pairwise masks and `packed_bfv` are retired; how updates travelled changes nothing of a model."""
    removed(raw, "privacy.masking")
    found = removed(raw, "privacy.cipher")
    if found is not None:
        added(raw, "privacy.cipher", "kahe" if found.value == "packed_bfv" else found.value)


def _circle_built_in(raw: Raw) -> None:
    """The circle loss was a plug-in, the example of the documentation, and is built in now, with another default scale.
    Options that it did not have are of another package's loss: they stay, and are refused when the settings are typed.
    """
    loss = raw.get("loss")
    if isinstance(loss, dict) and loss.get("metric") == "circle":
        options = loss.get("metric_options")
        held = options if isinstance(options, dict) else {}
        added(raw, "loss.circle_margin", held.pop("margin", 0.25))
        added(raw, "loss.circle_scale", held.pop("scale", 64.0))


def _smoothing_of_cross_entropy(raw: Raw) -> None:
    """Label smoothing was taken, and not used, beside losses of classification that have none."""
    loss = raw.get("loss")
    if isinstance(loss, dict) and loss.get("classification", "cross_entropy") != "cross_entropy":
        removed(raw, "loss.label_smoothing")


RUN = Steps("run", (Step(1, _without_packed_bfv), Step(2, _circle_built_in), Step(3, _smoothing_of_cross_entropy)))
DETECTOR = Steps("detector")


def moved(raw: Raw, before: str, after: str) -> None:
    """Move the value of a dotted key to another key; a missing one is left to its default."""
    found = removed(raw, before)
    if found is not None:
        added(raw, after, found.value)


class Found(NamedTuple):
    """An existing value; None is one."""

    value: Any


def removed(raw: Raw, key: str) -> Found | None:
    """Remove a dotted key and return its value; None if it is missing."""
    *sections, last = key.split(".")
    found: Any = raw
    for name in sections:
        found = found.get(name) if isinstance(found, dict) else None
    return Found(found.pop(last)) if isinstance(found, dict) and last in found else None


def added(raw: Raw, key: str, value: Any) -> None:
    """Set a dotted key; missing sections are created."""
    *sections, last = key.split(".")
    found: Any = raw
    for name in sections:
        found = found.setdefault(name, {}) if isinstance(found, dict) else None
    if isinstance(found, dict):
        found[last] = value


def _number(where: object, version: object) -> int:
    if version is None:
        return 0
    text = str(version)
    if not (isinstance(version, int | str) and text.isascii() and text.isdecimal() and len(text) < 10):
        raise SettingsError(f"{where}: {KEY} is {text[:40]!r}, not a whole number")
    return int(text)
