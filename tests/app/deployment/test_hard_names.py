"""Folders whose names a shell, TOML or Flower would change: they arrive as typed, or are refused with the quoting."""

import hashlib
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from flwr.common.config import parse_config_args
from flwr.supernode import cli as supernode_cli
from start_scripts import NASTY, executable, show_arguments, stand_ins

from app.deployment import bundle
from app.deployment.setup import make_federation

pytestmark = pytest.mark.slow

TAKEN_AS_TYPED = ["/srv/vehicles", "/srv/josé/车辆🚗", "/srv/a=b,c:d%e@f+g"]


@pytest.fixture
def nasty_site(root, tmp_path):
    """A site's folder with a hard name, and what its SuperNode is started with for a line of site.env."""
    folder = tmp_path / 'it\'s a (1) "folder" é🚗 $HOME \\b'
    shutil.copytree(root / "sites/north", folder)
    programs = tmp_path / "v'env $x" / "bin"
    programs.mkdir(parents=True)
    executable(
        programs / "python",
        f'case "$*" in *deployment.warm* | *deployment.clock*) exit 0;; esac\nexec {shlex.quote(sys.executable)} "$@"',
    )
    show_arguments(programs, "flower-supernode", tmp_path / "seen")
    lines = (folder / "site.env").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("DATA_ROOT=", "VENV="))]

    def start(*changed):
        text = "\n".join([*kept, f"VENV={shlex.quote(str(programs.parent))}", *changed])
        (folder / "site.env").write_text(text, encoding="utf-8")
        done = subprocess.run(["/bin/sh", str(folder / "start.sh")], capture_output=True, text=True, check=False)
        return done, folder, tmp_path / "seen"

    return start


def flower_reads(seen):
    """Arguments of flower-supernode as Flower 1.41 parses them, with its node config."""
    words = seen.read_text(encoding="utf-8").split("\0")[:-1]
    module = sys.modules[f"{supernode_cli.__name__}.flower_supernode"]  # its function has the same name
    parser = module._parse_args_run_supernode()
    args = parser.parse_args(words)
    return args, parse_config_args([args.node_config])


def test_hard_names_reach_the_site_as_they_are_typed(nasty_site, tmp_path):
    for value in NASTY:
        where = Path(str(tmp_path / "data") + value)
        where.mkdir(parents=True, exist_ok=True)
        done, folder, seen = nasty_site(f"DATA_ROOT={shlex.quote(str(where))}")
        assert done.returncode == 0, done.stderr
        args, config = flower_reads(seen)
        assert config == {
            "client": "north",
            "data": "manifest",
            "data-root": str(where),
            "state-dir": str(folder / "state/node"),
            "key-file": str(folder / "federation.key"),
            "policy": str(folder / "policy.toml"),
            "site-key": str(folder / "site.key"),
            "site-cert": str(folder / "site.cert"),
            "share-key": str(folder / "share.key"),
            "share-cert": str(folder / "share.cert"),
            "authority": str(folder / "authority.pub"),
        }
        assert args.root_certificates == str(folder / "ca.crt")
        assert args.auth_supernode_private_key == str(folder / "site.key")
        assert args.isolation == "subprocess"
        assert not args.runtime_dependency_install
    for name in (
        "flwr-clientapp",
        "flwr-agentapp",
        "flwr-serverapp",
        "flwr-simulation",
        "flwr-model",
        "flwr-connector",
    ):
        words = shlex.split((folder / "state/bin" / name).read_text().splitlines()[1])
        assert words[1:] == [sys.executable, "-P", "-m", "app.deployment.client_process", str(folder), name, "$@"]


@pytest.mark.parametrize("value", TAKEN_AS_TYPED)
def test_what_a_shell_leaves_alone_needs_no_quotes(nasty_site, tmp_path, value):
    where = Path(str(tmp_path / "data") + value)
    where.mkdir(parents=True)
    done, _, seen = nasty_site(f"DATA_ROOT={where} # where they are")
    assert done.returncode == 0, done.stderr
    assert flower_reads(seen)[1]["data-root"] == str(where)


@pytest.mark.parametrize(
    "line",
    [
        *(f"DATA_ROOT={value}" for value in NASTY),
        'DATA_ROOT="/srv/$HOME"',
        'DATA_ROOT="/srv/`id`"',
        'DATA_ROOT="/srv/a\\b"',
        "DATA_ROOT='/srv/a",
        "DATA_ROOT=/srv/a\r",
        "DATA_ROOT = /srv/a",
        "export DATA_ROOT=/srv/a",
        "touch MARKER",
        "DATA_ROOT=$(touch MARKER)",
    ],
)
def test_what_a_shell_would_change_is_refused_with_the_quoting(nasty_site, line):
    done, folder, seen = nasty_site(line)
    assert done.returncode == 2
    assert (
        f"{folder}/site.env: a value with blanks or signs that a shell changes belongs in single quotes" in done.stderr
    )
    assert "NAME='it'\\''s $5'" in done.stderr
    assert line.split("\n")[0].strip("\r") in done.stderr
    assert not seen.exists()
    assert not (folder / "MARKER").exists()


def test_folders_that_cannot_be_passed_on_are_named(nasty_site, tmp_path):
    done, folder, _ = nasty_site("DATA_ROOT=srv/a")
    assert (done.returncode, done.stderr) == (2, f"DATA_ROOT=srv/a in {folder}/site.env is no absolute path\n")
    apart = folder.with_name("a:b")
    shutil.copytree(folder, apart)
    where = tmp_path / "data"
    where.mkdir()
    venv = shlex.quote(str(tmp_path / "v'env $x"))
    (apart / "site.env").write_text(f"VENV={venv}\nDATA=manifest\nDATA_ROOT={where}\nRUNTIME_PORT=9\n")
    done = subprocess.run(["/bin/sh", str(apart / "start.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2  # else the wrapper would not be on PATH, and Flower's own command would
    assert "a colon separates folders in PATH" in done.stderr
    assert not (tmp_path / "seen").exists()


def test_the_server_starts_in_a_folder_with_a_hard_name(root, tmp_path):
    folder = tmp_path / 'it\'s a (1) "folder" é🚗 $HOME \\b'
    shutil.copytree(root / "server", folder)
    programs = tmp_path / "v'env $x" / "bin"
    programs.mkdir(parents=True)
    show_arguments(programs, "python", tmp_path / "seen", of="app.deployment.superlink")
    env = (folder / "server.env").read_text(encoding="utf-8")
    venv = f"VENV={shlex.quote(str(programs.parent))}"
    (folder / "server.env").write_text(env.replace("VENV=/opt/x/.venv", venv))
    subprocess.run(["/bin/sh", str(folder / "start.sh")], check=True)
    words = (tmp_path / "seen").read_text().split("\0")
    assert words[:3] == ["-P", "-m", "app.deployment.superlink"]
    for option, name in (
        ("--ssl-ca-certfile", "ca.crt"),
        ("--ssl-keyfile", "server.key"),
        ("--database", "state/superlink.db"),
    ):
        assert words[words.index(option) + 1] == str(folder / name)
    (folder / "server.env").write_text(f"{env}BIND=0.0.0.0 # all\nPORT=80 80\n")
    done = subprocess.run(["/bin/sh", str(folder / "start.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "PORT=80 80"


def test_overrides_and_paths_of_the_operator_arrive_as_they_were_given(root, tmp_path):
    folder = tmp_path / 'it\'s a (1) "folder" é🚗 $HOME \\b'
    programs = stand_ins(tmp_path, root)
    project = tmp_path / "pro'ject (1) é $x"
    shutil.copytree(tmp_path / "project", project)
    shutil.copytree(root / "operator", folder)
    env = f"VENV={shlex.quote(str(programs.parent))}\nPROJECT={shlex.quote(str(project))}\n"
    (folder / "operator.env").write_text(env)
    seen = tmp_path / "seen"
    executable(
        programs / "flwr",
        f'printf \'%s\\0\' "$@" > {shlex.quote(str(seen))}\nfor last in "$@"; do :; done\n'
        f'cp "$last" {shlex.quote(str(tmp_path / "seen.toml"))}\necho "final model: {{}}"',
    )
    given = [f"data.root={value}" for value in NASTY]
    done = subprocess.run([str(folder / "run.sh"), *given], capture_output=True, text=True, check=True)
    overrides = tomllib.loads((tmp_path / "seen.toml").read_text(encoding="utf-8"))["overrides"]
    assert shlex.split(overrides)[3:] == given
    assert seen.read_text().split("\0")[:3] == ["run", str(project), "parks"]
    config = tomllib.loads((folder / "flower/config.toml").read_text(encoding="utf-8"))["superlink"]["parks"]
    assert config == {"address": "fed.example.org:8443", "root-certificates": f"{folder}/ca.crt"}
    digest = hashlib.sha256(bundle.build(project)).hexdigest()
    assert f"app bundle of {project}: tests/small 1.0.0, SHA-256 {digest}" in done.stdout
    assert "lists it" in done.stdout


def test_a_checkout_with_a_hard_name_is_written_as_the_shell_reads_it(plan, first_key, tmp_path):
    """What `init` finds out by itself: folders of the operator's machine. A line break in a name is refused by name."""
    for number, value in enumerate([*NASTY, "/srv/two\nlines"]):
        root, venv = tmp_path / str(number), Path(f"{tmp_path}{value}")
        make_federation(plan(project=Path(value), venv=venv), root, first_key)
        programs = venv / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        executable(programs / "python", "echo 'root-certificates = \"\"'")
        read = ["/bin/sh", "-c", '. ./connect.sh; printf "%s\\0" "$VENV" "$PROJECT"']
        done = subprocess.run(read, cwd=root / "operator", capture_output=True, text=True, check=False)
        if "\n" in value:
            assert done.returncode == 2
            assert "operator.env: a value with blanks" in done.stderr
        else:
            assert done.stdout.split("\0")[:2] == [str(venv), value], done.stderr
