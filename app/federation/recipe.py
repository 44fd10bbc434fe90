"""`recipe.json` in a node store: the settings that rebuild the network whose arrays lie beside it."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from app.core.files import replacing
from app.core.site_runs import SiteModelError
from app.settings import upgrades
from app.settings.checks import SettingsError
from app.settings.load import MISSING, Settings, absolute, settings_from
from app.settings.plug_in_names import require_declared

FILE = "recipe.json"
_FORMAT = 1


@dataclass(frozen=True)
class Recipe:
    """Construction of a node's network.

    Args:
        client: the node's name in the run.
        num_labels: rows of its private classifier.
        settings: of the run at this node, as a checkpoint holds them.
    """

    client: str
    num_labels: int
    settings: dict[str, Any]

    @classmethod
    def of(cls, settings: Settings, *, client: str, num_labels: int) -> Self:
        """The recipe of a client with these settings."""
        return cls(client, num_labels, site_settings(settings).as_dict())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The recipe in a node store. Raises SiteModelError, naming the remedy, if it is missing or damaged."""
        path = folder / FILE
        remedy = "resume the run, or give --settings FILE, the settings.json of its run folder on the server"
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SiteModelError(
                f"{folder} has no {FILE}: a version of the project without stored settings wrote it; {remedy}"
            ) from None
        except ValueError as error:
            raise SiteModelError(f"{path} is damaged: {error}; {remedy}") from error
        try:
            if fields.pop("format") != _FORMAT:
                raise SiteModelError(f"{path} has the format of another version of the project; {remedy}")
            version, kept = fields.pop(upgrades.KEY, None), fields.pop("settings")
            return cls(**fields, settings=upgrades.RUN.upgraded(path, version, kept))
        except SettingsError as error:
            raise SiteModelError(str(error)) from error
        except (AttributeError, KeyError, TypeError) as error:
            raise SiteModelError(f"{path} is damaged: {error!r}; {remedy}") from error

    @classmethod
    def from_settings_file(cls, path: Path) -> Self:
        """The recipe of a run's settings.json from the server or a simulation."""
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SiteModelError(f"{path} is no settings.json of a run: {error}") from error
        if not isinstance(settings, dict):
            raise SiteModelError(f"{path} is no settings.json of a run")
        try:
            return cls("", 1, upgrades.RUN.upgraded(path, settings.pop(upgrades.KEY, None), settings))
        except SettingsError as error:
            raise SiteModelError(str(error)) from error

    def typed(self) -> Settings:
        """The settings. Raises SiteModelError if another version of the project wrote them."""
        try:
            # A site's own reader need not be declared: nothing is read by it here.
            data = self.settings.get("data")
            require_declared(
                {**self.settings, "data": {**data, "reader": ""}} if isinstance(data, dict) else self.settings
            )
            return settings_from(self.settings, stored=False)
        except SettingsError as error:
            raise SiteModelError(f"the settings of the run do not fit this version of the project: {error}") from error

    def write(self, folder: Path) -> bool:
        """Write it into a node store, unless it is there already: a client is constructed for every message.

        Returns whether it was written."""
        text = json.dumps({"format": _FORMAT, upgrades.KEY: upgrades.RUN.version, **asdict(self)}, indent=1) + "\n"
        path = folder / FILE
        if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text:
            return False
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding="utf-8")
        return True


def site_settings(settings: Settings) -> Settings:
    """A client's settings for its checkpoints: absolute paths, so that they find the images from any folder, and
    without the node's cache."""
    root = settings.data.root
    data = replace(settings.data, root=root if root == MISSING else str(absolute(root)), cache_dir="")
    return replace(settings, data=data)
