"""Small Flower apps, of which bundles are built."""

from pathlib import Path

PYPROJECT = """
[project]
name = "{name}"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "{publisher}"

[tool.flwr.app.components]
serverapp = "{package}.main:server"
clientapp = "{package}.main:client"

[tool.flwr.app.config]
overrides = ""
"""


def small_project(folder: Path, code: str = "client = server = None\n", **names: str) -> Path:
    """A project of one module; Flower builds a bundle of it as of any other."""
    values = {"name": "small", "publisher": "tests", "package": "small", **names}
    package = folder / values["package"]
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT.format(**values), encoding="utf-8")
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text(code, encoding="utf-8")
    return folder
