"""The start commands of a party's folder, run by a real shell."""

import hashlib
import shlex
import subprocess
import tomllib

import pytest
from start_scripts import executable, stand_ins

from app.deployment import bundle
from app.deployment.parties import read_party
from strategies.signing import read_public_key

pytestmark = pytest.mark.slow


def test_start_commands_are_valid_shell(made):
    for script in made.rglob("*.sh"):
        subprocess.run(["/bin/sh", "-n", str(script)], check=True)
        assert script.stat().st_mode & 0o100
        assert "@" not in script.read_text(encoding="utf-8").replace('"$@"', "")
    for path in made.rglob("*.env"):
        shown = subprocess.run(
            ["/bin/sh", "-c", f'. "{path}"; echo "$VENV"'], capture_output=True, text=True, check=True
        ).stdout
        assert shown.strip() in ("/opt/x/.venv", "/v v")


def test_a_site_without_its_images_says_so(root):
    done = subprocess.run(["/bin/sh", str(root / "sites/north/start.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"DATA_ROOT=/srv/vehicles in {root}/sites/north/site.env is no folder\n"


def test_overrides_reach_flower_as_they_were_given(root, tmp_path):
    """Stand-ins for Flower keep the file that it would read; its TOML is read by the standard library."""
    programs = stand_ins(tmp_path, root)
    (programs / "flwr").write_text(
        f'#!/bin/sh\nfor last in "$@"; do :; done\ncp "$last" "{tmp_path}/seen.toml"\necho "final model: {{}}"\n'
    )
    (programs / "flwr").chmod(0o755)
    given = ["experiment=two_cam", "model.vehicle.options={channels: [48, 96]}", "run_dir=/srv/my 'runs'"]
    subprocess.run([str(root / "operator/run.sh"), *given], check=True)
    overrides = tomllib.loads((tmp_path / "seen.toml").read_text(encoding="utf-8"))["overrides"]
    key = read_party(root / "operator").key_id
    authority = read_public_key(root / "authority/authority.pub").public_bytes_raw().hex()
    own = ["federation.num_clients=2", f'privacy.key_id="{key}"', f'federation.authority="{authority}"']
    assert shlex.split(overrides) == [*own, *given]
    assert list((root / "operator/flower").iterdir()) == [root / "operator/flower/config.toml"]
    config = tomllib.loads((root / "operator/flower/config.toml").read_text(encoding="utf-8"))["superlink"]["parks"]
    assert config == {"address": "fed.example.org:8443", "root-certificates": f"{root}/operator/ca.crt"}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("federation.round=3", "error: unknown key federation.round; did you mean federation.rounds?"),
        ("experiment=quikstart", "error: there is no experiment=quikstart; known: "),
        ("device=gpu", "error: device must be auto, cpu, cuda, cuda:NUMBER or mps; got 'gpu'"),
    ],
)
def test_a_run_with_a_setting_that_there_is_not_is_not_started(root, tmp_path, word, said):
    programs = stand_ins(tmp_path, root)
    (programs / "flwr").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (programs / "flwr").chmod(0o755)
    done = subprocess.run([str(root / "operator/run.sh"), word], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert [line[: len(said)] for line in done.stderr.splitlines()] == [said]
    assert not (tmp_path / "started").exists()
    assert [path.name for path in (root / "operator/flower").iterdir()] == ["config.toml"]


def test_a_failed_run_is_reported(root, tmp_path):
    """Flower's command ends with 0 whatever became of the run."""
    programs = stand_ins(tmp_path, root)
    (programs / "flwr").write_text("#!/bin/sh\necho round 2/6\n")
    (programs / "flwr").chmod(0o755)
    done = subprocess.run([str(root / "operator/run.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "round 2/6")
    assert "federation.resume=true" in done.stderr


def test_registering_goes_on_after_a_site_that_is_known_already(root, tmp_path):
    programs = stand_ins(tmp_path, root)
    (programs / "flwr").write_text(
        f'#!/bin/sh\necho "$3" >> "{tmp_path}/seen"\ncase "$3" in *north*) exit 1;; esac\n'
        "echo 'SuperNode 7756689494493548425 registered successfully.'\n"
    )
    (programs / "flwr").chmod(0o755)
    done = subprocess.run([str(root / "operator/register.sh")], capture_output=True, text=True, check=False)
    assert (tmp_path / "seen").read_text().split() == ["sites/north.pub", "sites/south.pub"]
    assert done.returncode == 1
    assert "not registered now: north" in done.stderr
    assert (root / "operator/nodes.txt").read_text() == "south 7756689494493548425\n"
    wrong = subprocess.run([str(root / "operator/register.sh"), "nroth"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "there is no site nroth; there are: north south\n")


def test_a_bundle_that_no_site_would_run_is_not_sent(root, tmp_path):
    programs = stand_ins(tmp_path, root)
    executable(programs / "flwr", f"touch {tmp_path}/called")
    (tmp_path / "project/small/main.py").write_text("changed = True\n")
    digest = hashlib.sha256(bundle.build(tmp_path / "project")).hexdigest()
    done = subprocess.run([str(root / "operator/run.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert digest in done.stdout
    assert f"{root}/operator/allowed-apps of" in done.stderr
    assert "does not list it: no site would run it" in done.stderr
    assert "federation approve" in done.stderr
    (root / "operator/allowed-apps").unlink()
    done = subprocess.run([str(root / "operator/run.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"cannot read {root}/operator/allowed-apps" in done.stderr
    assert not (tmp_path / "called").exists()


def test_the_number_of_a_site_that_left_is_kept_until_it_is_unregistered(root, tmp_path):
    programs = stand_ins(tmp_path, root)
    for number in (7756689494493548425, 7756689494493548426, 7756689494493548426):
        executable(programs / "flwr", f"echo 'SuperNode {number} registered successfully.'")
        subprocess.run([str(root / "operator/register.sh"), "north"], check=True, stdout=subprocess.DEVNULL)
    assert (root / "operator/nodes.txt").read_text() == (
        "# before: north 7756689494493548425\nnorth 7756689494493548426\n"
    )
