"""Texts of the files from `setup`, filled in from `templates/`."""

from pathlib import Path
from string import Template

from app.deployment import parties as p

_TEMPLATES = Path(__file__).parent / "templates"
_ENV = {"site-start.sh": "site.env", "server-start.sh": "server.env", p.CONNECT: "operator.env"}
"""Template of a settings file."""
_WATCHED = ("site-start.sh", "server-start.sh")
"""Templates of start commands, whose processes have a log and metrics."""


class _Template(Template):
    delimiter = "@"  # "$" is the shell's


def fill(template: str, path: Path, mode: int, **values: object) -> None:
    """Write a template with values in place of its @names."""
    if template in _ENV:
        values["read_env"] = _text("read-env.sh", env=_ENV[template]).rstrip()
    if template in _WATCHED:
        values["watching"] = _text("watching.sh", party=values.get("site", "server")).rstrip()
    p.write_file(path, _text(template, **values).encode(), mode)


def _text(template: str, **values: object) -> str:
    return _Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
