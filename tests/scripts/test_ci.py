"""Continuous integration on a new machine: browser, broker and RTSP server are installed; no page test is skipped."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from _pytest.nodeid import NodeId
from conftest import LONGEST, longest_first, named_apart

ROOT = Path(__file__).parents[2]
PAGE_TEST = """
import pytest
pytestmark = pytest.mark.usefixtures("needs_chromium")

def test_page():
    pass
"""


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path):
    """A folder of programs that is almost all there is: no browser, and an apt-get that notes what it is asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "sh", "env", "cat"):
        (programs / name).symlink_to(shutil.which(name))
    program(programs, "apt-get", f'echo "$DEBIAN_FRONTEND: $@" >> "{tmp_path}/asked"')
    program(programs, "id", "echo 0")
    return tmp_path


def install(machine):
    command = [str(ROOT / ".ci" / "packages")]
    done = subprocess.run(command, env={"PATH": f"{machine}/bin"}, capture_output=True, text=True, check=False)
    asked = machine / "asked"
    return done, asked.read_text(encoding="utf-8").splitlines() if asked.exists() else []


def test_root_installs_chromium_where_it_is_missing(machine):
    done, asked = install(machine)
    assert done.returncode == 0, done.stderr
    assert asked[0].startswith("noninteractive: update")
    assert "install -y" in asked[1]
    assert " chromium" in asked[1]


def test_another_user_installs_it_with_sudo_if_it_asks_for_no_password(machine):
    program(machine / "bin", "id", "echo 1000")
    program(machine / "bin", "sudo", f'[ "$2" = true ] || echo "sudo $1" >> "{machine}/asked"; shift; exec "$@"')
    program(machine / "bin", "true", "exit 0")
    _, asked = install(machine)
    assert asked[0] == "sudo -n"
    assert any(" chromium" in line for line in asked)


def test_a_user_without_the_right_to_install_it_gets_an_error(machine):
    program(machine / "bin", "id", "echo 1000")
    program(machine / "bin", "sudo", "exit 1")
    done, asked = install(machine)
    assert (done.returncode, asked) == (0, [])
    assert "missing, and this user may not install it: apt-get install chromium" in done.stderr


def test_a_program_that_is_there_is_left_as_it_is(machine):
    program(machine / "bin", "chromium", "exit 0")
    program(machine / "bin", "mosquitto", "exit 0")
    program(machine / "bin", "nginx", "exit 0")
    asked = "\n".join(install(machine)[1])
    assert "chromium" not in asked
    assert "mosquitto" not in asked
    assert "nginx" not in asked


def test_the_check_runs_with_ci_set_and_after_the_browser():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-3:] == ["export CI=true", ".ci/packages", "make check"]


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "status", "words"), [("true", 1, "1 error"), ("", 0, "1 page tests were skipped")])
def test_a_page_test_without_a_browser_is_skipped_aloud_and_fails_in_ci(tmp_path, ci, status, words):
    (tmp_path / "test_page.py").write_text(PAGE_TEST, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    environment = {**os.environ, "PATH": f"{tmp_path}/bin", "PYTHONPATH": str(ROOT / "tests/helpers"), "CI": ci}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "browsers", "--rootdir", str(tmp_path), "-c", os.devnull]
    done = subprocess.run([*command, str(tmp_path)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout
    assert words in done.stdout
    assert "apt-get install chromium" in done.stdout


def test_processes_of_make_keep_byte_code_whatever_the_environment_says():
    """Else each process that a test starts compiles torch anew."""
    words = ["make", "-s", "-C", str(ROOT), "--eval", "show: ; @echo [$$PYTHONDONTWRITEBYTECODE]", "show"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MAKEFLAGS": ""}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_longest_files_start_first_and_keep_the_order_of_their_tests():
    places = {name: ROOT / "tests" / name for name in LONGEST}
    assert [name for name, path in places.items() if not path.is_file()] == []
    paths = [ROOT / "tests/app/core/test_files.py", *reversed(places.values()), ROOT / "tests/scripts/test_ci.py"]
    collected = [SimpleNamespace(path=path, number=number) for path in paths for number in (1, 2)]
    ordered = [(item.path, item.number) for item in longest_first(collected)]
    assert ordered == [(path, number) for path in (*places.values(), paths[0], paths[-1]) for number in (1, 2)]
    assert "--no-loadscope-reorder" in (ROOT / "Makefile").read_text(encoding="utf-8")


@dataclass
class Collected:
    """What pytest has of a test."""

    _id: NodeId
    name: str
    parent = SimpleNamespace(nodeid="test_a.py")
    id = property(lambda self: self._id)
    nodeid = property(lambda self: str(self._id))


def test_tests_that_share_an_id_are_named_apart():
    """Else xdist runs one of them."""
    same = NodeId.parse("test_a.py::test_c")
    items = [Collected(same, "test_c[GET /x]"), Collected(same, "test_c[POST /x]"), Collected(same, "test_c")]
    assert [each.nodeid.partition("::")[2] for each in named_apart(items)] == [each.name for each in items]
    with pytest.raises(pytest.UsageError, match=r"test_a\.py::test_c"):
        named_apart([Collected(same, "test_c"), Collected(same, "test_c")])
