"""Stand-ins for the programs that start commands call, and names that are hard on a shell."""

import shlex
import sys

from app_bundles import small_project

from scripts import federation

NASTY = [
    "/srv/my pictures",
    '/srv/a"b',
    "/srv/a\\b",
    "/srv/a\\\\b\\",
    "/srv/it's",
    "/srv/$HOME ${x} $(id) `id`",
    "/srv/a=b, c:d; e|f & g #h ~i !j *k? [l] {m} <n>",
    "/srv/josé (1)/车辆🚗",
    "/srv/%n %% @site",
    "/srv/tab\there",
    "/srv/-x '\"' \\' \\\"",
]


def executable(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def stand_ins(tmp_path, root):
    """Folder of the operator's programs, of which python is the real one, with a small project that is approved."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    executable(programs / "python", f'exec {shlex.quote(sys.executable)} "$@"')
    project = small_project(tmp_path / "project")
    federation.main(["approve", str(root), "--project", str(project)])
    env = f"VENV={shlex.quote(str(tmp_path / 'venv'))}\nPROJECT={shlex.quote(str(project))}\n"
    (root / "operator/operator.env").write_text(env)
    return programs


def show_arguments(programs, name, seen, of=""):
    """A stand-in that keeps its arguments, each ended by a zero byte; of calls with the word `of`, if it is given.
    Others take what they are sent, as the writer of logs does."""
    keep = f"printf '%s\\0' \"$@\" > {shlex.quote(str(seen))}"
    executable(programs / name, f'case " $* " in *" {of} "*) {keep};; *) cat > /dev/null;; esac' if of else keep)
