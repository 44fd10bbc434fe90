"""Who may start runs, with Flower's server, a site and nginx as processes: the server's machine, and the operator."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from app_bundles import foreign_project
from nginx_proxy import asked, nginx_with
from strangers import seen_as_a_stranger

from app.deployment.certificates import Issued, new_authority, new_operator
from app.deployment.parties import parties_of
from app.deployment.preflight import preflight
from app.deployment.remote_status import remote_status
from app.deployment.superlink import REFUSAL
from app.deployment.verify import problems
from scripts import federation
from scripts.bench.loopback import Loopback, free_port

pytestmark = pytest.mark.slow
FLWR = str(Path(sys.prefix) / "bin" / "flwr")
NEWEST = "this port takes the newest operator certificate of the federation, and no other"


def plain(done):
    """What a command printed, in one line and without the frame around an error."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", done.stdout + done.stderr).split())


def stranger(folder, port, certificate):
    """`flwr` of somebody who has `ca.crt`: standard output and error of a command."""
    home = folder / f"stranger-{port}"
    home.mkdir()
    connection = f'[superlink.parks]\naddress = "127.0.0.1:{port}"\nroot-certificates = "{certificate}"\n'
    (home / "config.toml").write_text(f'[superlink]\ndefault = "parks"\n\n{connection}')

    def command(*words):
        env = {**os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0"}
        done = subprocess.run([FLWR, *words], env=env, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        return plain(done)

    return command


def operator(real, *words):
    """`flwr.sh` of the operator's folder."""
    done = subprocess.run(
        ["/bin/sh", str(real.root / "operator/flwr.sh"), *words], capture_output=True, text=True, check=False
    )
    return done.returncode, plain(done)


def runs_of(real):
    """Names of the runs that the server has, over its own machine's connection."""
    home = real.folder / "local"
    home.mkdir(exist_ok=True)
    connection = (
        f'[superlink.parks]\naddress = "127.0.0.1:{real.port}"\nroot-certificates = "{real.root}/server/ca.crt"\n'
    )
    (home / "config.toml").write_text(f'[superlink]\ndefault = "parks"\n\n{connection}')
    env = {**os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0"}
    done = subprocess.run([FLWR, "list", "--format", "json"], env=env, capture_output=True, text=True, check=True)
    return [run["fab-name"] for run in json.loads(done.stdout)["runs"]]


@pytest.fixture
def started(tmp_path):
    """A server with an operator's port, and two sites that are not started."""
    (tmp_path / "images").mkdir()
    (tmp_path / "real").mkdir()
    port = free_port()
    words = ["--operator-port", str(port), "--install", str(tmp_path)]
    with Loopback(tmp_path / "real", dict.fromkeys(("north", "south"), tmp_path / "images"), words) as real:
        (tmp_path / "parks-server").symlink_to(real.root / "server")
        real.start_server()
        yield real, port


def test_a_stranger_with_the_authoritys_certificate_starts_no_run(started, tmp_path):
    """From an address that is not the server's: a site is let in, and whoever wants to start a run is not."""
    real, operator_port = started
    assert [problems(party) for party in parties_of(real.root)] == [[]] * 5
    settings, ca = real.root / "server/control.conf", real.root / "server/ca.crt"
    project = foreign_project(tmp_path / "foreign", tmp_path / "marker", 0)  # its server half asks no site
    with nginx_with(settings, operator_port, tmp_path) as proxy, seen_as_a_stranger(real.port) as outside:
        real.register("north")  # the operator's command, through nginx
        start = (real.site("north") / "start.sh").read_text().replace(f"127.0.0.1:{real.port}", f"127.0.0.1:{outside}")
        (real.site("north") / "start.sh").write_text(start)
        real.start("north")

        for port, reason in ((outside, REFUSAL), (operator_port, NEWEST)):
            command = stranger(tmp_path, port, ca)
            for words in (
                ["run", str(project)],
                ["list"],
                ["supernode", "register", str(real.site("south") / "site.pub")],
            ):
                assert reason in command(*words), words
        for issued in (server_itself(real), new_operator(new_authority("parks"), "parks operator")):
            assert asked(tmp_path, ca, operator_port, issued).status_code == 403
        assert runs_of(real) == []

        own = Issued(*((real.root / "operator" / name).read_bytes() for name in ("operator.crt", "operator.key")))
        for path in ("/v1/runtime/acquire-task", "/v1/control/../runtime/acquire-task", "/", "/health"):
            assert asked(tmp_path, ca, operator_port, own, path).status_code == 403, path
        assert operator(real, "list")[0] == 0
        status, said = operator(real, "run", str(project), "parks", "--stream")
        assert status == 0, said
        assert "foreign app has ended" in said
        assert len(runs_of(real)) == 1
        assert remote_status(real.root / "operator")["state"] == "finished:completed"
        assert preflight_faults(real.root / "operator") == []
        real.wait_for(lambda: "SuperNode ID" in real.log("north"), "the site to be let in", 120)

        federation.main(["operator-access", str(real.root)])
        newest = Issued(*((real.root / "operator" / name).read_bytes() for name in ("operator.crt", "operator.key")))
        proxy.send_signal(signal.SIGHUP)  # what `systemctl reload nginx` sends

        def newest_alone():  # for a moment nginx's processes of before and after both take connections
            before, after = (asked(tmp_path, ca, operator_port, each).status_code for each in (own, newest))
            return before == 403 != after

        real.wait_for(newest_alone, "nginx to read its settings")
        assert operator(real, "list")[0] == 0
        assert [problems(party) for party in parties_of(real.root)] == [[]] * 5


def preflight_faults(folder):
    return [row.item for row in preflight(folder) if row.fault and row.item not in ("disk", "memory")]


def server_itself(real):
    return Issued(*((real.root / "server" / name).read_bytes() for name in ("server.crt", "server.key")))
