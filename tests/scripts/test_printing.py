"""Names of files that a terminal cannot print: no command ends at one, and the name can be had again."""

import io
import json
import os
import subprocess
import sys

import pytest

from app.core.printing import json_line, print_everything, shown

NAMES = [
    b"plate.jpg",
    "车牌-皖A😀.jpg".encode(),
    b"caf\xe9.jpg",
    b"two\nlines\x1b[2J.jpg",
    b"\xff\xfe\x85.jpg",
    "a\u2028b.jpg".encode(),
]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize("name", NAMES)
def test_a_json_line_is_one_line_that_can_be_read_and_names_the_file(name, encoding, errors, monkeypatch):
    """Whatever the terminal's encoding, the bytes of the name come back."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, errors))
    print_everything()
    print(json_line({"file": os.fsdecode(name)}), flush=True)
    (line,) = written.getvalue().decode(encoding).splitlines()
    assert os.fsencode(json.loads(line)["file"]) == name


def test_what_can_be_shown_is_not_escaped(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert json_line({"file": "车.jpg"}) == '{"file": "车.jpg"}'
    assert shown("车 a.jpg: odd") == "车 a.jpg: odd"
    assert shown(os.fsdecode(b"\xff\n\x1b[2J")) == r"\udcff\n\x1b[2J"


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"}]
)
def test_a_command_ends_with_its_own_error_and_prints_any_name(locale, tmp_path):
    """A real process that prints each name and fails with one in its error."""
    for name in NAMES:
        (tmp_path / os.fsdecode(name)).touch()
    program = (
        "import os, sys\n"
        "from scripts.command import command\n"
        "from app.core.printing import json_line\n"
        "from models.errors import MissingFileError\n"
        "def main(argv):\n"
        "    for name in sorted(os.listdir(argv[0]), key=os.fsencode):\n"
        "        print(json_line(name))\n"
        "        print(name.replace(chr(10), ' '))\n"
        "    raise MissingFileError('not found: ' + os.fsdecode(b'\\xff\\x1b.jpg'))\n"
        "command(main, sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env={**os.environ, **locale}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr.decode("ascii").strip()) == (2, r"error: not found: \udcff\x1b.jpg")
    lines = done.stdout.decode().split("\n")[:-1:2]
    assert [os.fsencode(json.loads(line)) for line in lines] == sorted(NAMES)
