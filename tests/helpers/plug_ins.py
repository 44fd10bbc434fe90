"""Packages with plug-ins, as an installer leaves them in a folder of the search path."""

import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest

from models import plugins

EXAMPLE = Path(__file__).parents[2] / "docs/examples/plugin"


def install(folder, package, declarations, **modules):
    """Write modules, and what the package declares: {kind: {name: place}}."""
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = [
        line
        for kind, names in declarations.items()
        for line in (f"[fed_vehicle_reid.{kind}]", *(f"{name} = {place}" for name, place in names.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    invalidate_caches()
    plugins._declared.cache_clear()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder of installed packages, empty at first."""
    folder = tmp_path / "packages"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    plugins._declared.cache_clear()
    yield folder
    plugins._declared.cache_clear()
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
