"""Overrides of a run of `scripts.simulate`, stored in its folder for a resume and the comparisons."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from app.core.run_folder import RunFolder
from app.settings.file_keys import relative_files
from app.settings.load import MISSING, load_settings
from app.settings.overrides import override

OVERRIDES_FILE = "overrides.txt"
_NO_EXPERIMENT = "~experiment"
_FORMER_DEFAULT = "experiment=quickstart"


def run_overrides(words: Sequence[str], run_dir: Path) -> str:
    """The overrides of a new run as one text. Flower's processes, and a resume, work in other folders, so that files
    are named by absolute paths. They name the absence of an experiment: in runs of earlier versions no experiment meant
    the quickstart."""
    head = [] if _names_experiment(words) else [_NO_EXPERIMENT]
    own = {**relative_files(load_settings(words).as_dict()), "run_dir": run_dir}
    return shlex.join([*head, *words, *(override(key, value) for key, value in own.items())])


def read_overrides(folder: Path) -> str:
    """The overrides of a run as one text. Raises FileNotFoundError, and UnicodeDecodeError for bytes that are no
    text."""
    text = (folder / OVERRIDES_FILE).read_text(encoding="utf-8")
    try:
        words = shlex.split(text)
    except ValueError:
        return text  # composing it reports the error
    head = [] if _names_experiment(words) else [_FORMER_DEFAULT]
    return " ".join([*head, text, *_former_root(folder, words)])


def _former_root(folder: Path, words: Sequence[str]) -> list[str]:
    """The folder of a data set that earlier versions found by the name of the set."""
    keys = [word.partition("=")[0] for word in words]
    if "data" not in keys or "data.root" in keys or not (folder / "settings.json").exists():
        return []
    kept = RunFolder(folder).read_settings().get("data", {}).get("root", MISSING)
    return [] if kept == MISSING else [shlex.quote(override("data.root", kept))]


def _names_experiment(words: Sequence[str]) -> bool:
    return any(word.partition("=")[0].lstrip("+~") == "experiment" for word in words)
