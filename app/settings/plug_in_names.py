"""Names of plug-ins in a run's settings, found before anything of them is imported."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from app.settings.checks import SettingsError
from models.plugins import Kind, declared, is_place

_PARTS: dict[str, Kind] = {  # last part of a key, or a whole key -> the plug-ins that it may name
    "task": "tasks",
    "backbone": "backbones",
    "loss.classification": "losses",
    "loss.metric": "losses",
    "data.partition.by": "partitioners",
    "data.reader": "readers",
}


def names_plug_in(key: str, value: object) -> bool:
    """Whether the value of a dotted key names a plug-in, by its place or by a name that a package declares."""
    kind = _kind_of(key)
    return isinstance(value, str) and (is_place(value) or (kind is not None and value in declared(kind)))


def require_declared(stored: Mapping[str, Any], trusted: Collection[object] = ()) -> None:
    """Raise SettingsError for a place in stored settings that no installed package declares: whoever made the file
    would decide which module is imported here, and with which arguments it is called.

    Args:
        stored: settings of a checkpoint or of a run folder.
        trusted: values that the user gave as well.
    """
    for key, value in leaves(stored):
        kind = _kind_of(key)
        if kind is None or not isinstance(value, str) or not is_place(value) or value in trusted:
            continue
        if value not in {each.value for each in declared(kind).values()}:
            raise SettingsError(
                f"{key}={value}: a plug-in that no installed package declares, named by a stored file; "
                f"declare it in its package (docs/plugins.md), or add {key}={value} to the command if you trust it"
            )


def refuse_plug_ins(raw: Mapping[str, Any], node: Mapping[str, object]) -> None:
    """Raise SettingsError for a plug-in in a run's composed settings, as a site without a policy runs none for others.

    Args:
        raw: of the run's own overrides.
        node: the node config; where it names data, the run's reader is not used.
    """
    for key, value in leaves(raw):
        if names_plug_in(key, value) and not (key == "data.reader" and "data" in node):
            raise SettingsError(
                f"{key}={value}: a plug-in, which a site runs only if its policy file lists it in plugins"
            )


def _kind_of(key: str) -> Kind | None:
    return _PARTS.get(key) or _PARTS.get(key.rsplit(".", 1)[-1])


def leaves(values: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and value of each leaf; entries of a list have the list's key, one after another under a number."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from leaves(value, f"{key}.{index}")
    else:
        yield key, values
