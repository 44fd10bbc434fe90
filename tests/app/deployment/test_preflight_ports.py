"""Ports of metrics and of the health service, checked before a party starts and while it runs."""

import socket
import subprocess
import sys
import time

import pytest

from app.deployment.preflight import Means, preflight

ENOUGH = Means(time.time, lambda _: 2**40, lambda: 2**40)


def ports_of(folder, **values):
    """What is found of the two ports, by item; a whole machine has further faults."""
    env = folder / f"{'server' if folder.name == 'server' else 'site'}.env"
    env.write_text("".join(f"{name}={value}\n" for name, value in {"PORT": 1, **values}.items()))
    return {row.item: row for row in preflight(folder, ENOUGH) if row.item.endswith("_PORT")}


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("name", ["METRICS_PORT", "HEALTH_PORT"])
@pytest.mark.parametrize("party", ["server", "sites/north"])
def test_a_port_of_another_program_is_named(root, taken, name, party):
    [row] = ports_of(root / party, **{name: taken}).values()
    assert row.item == name
    assert row.fault == f"{name}={taken} in {next((root / party).glob('*.env'))} is taken by another program"
    assert row.remedy == "Set another free port above 1023, or nothing for none"


def test_ports_that_are_free_or_not_set(root):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = ports_of(root / "sites/north", METRICS_PORT=port, HEALTH_PORT="")
    assert [str(row) for row in found.values()] == ["METRICS_PORT: in order"]
    assert ports_of(root / "server", METRICS_PORT="") == {}


def test_a_port_that_no_program_can_open_is_named(root):
    found = ports_of(root / "sites/north", METRICS_PORT="9x", HEALTH_PORT="70000")
    assert "METRICS_PORT=9x in" in found["METRICS_PORT"].fault
    assert [row.fault.rpartition(" in ")[2].partition(" ")[2] for row in found.values()] == ["is no port"] * 2


def test_one_port_for_two_of_its_own_is_named(root):
    found = ports_of(root / "sites/north", METRICS_PORT=9100, HEALTH_PORT=9100, RUNTIME_PORT=9094)
    assert found["METRICS_PORT"].fault.endswith("site.env is HEALTH_PORT as well")
    found = ports_of(root / "sites/north", METRICS_PORT=9094, RUNTIME_PORT=9094)
    assert found["METRICS_PORT"].fault.endswith("site.env is RUNTIME_PORT as well")


@pytest.mark.parametrize("words", ["{folder}/site.key --health-server-address=127.0.0.1:{port}", "{folder} {port} 7"])
def test_a_port_that_the_running_party_has_itself_is_in_order(root, words):
    """The words of its processes name folder and port, as SuperNode's and those of `app.deployment.metrics` do."""
    listen = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    replaced = (
        "import os; words = sys.argv[1].format(port=s.getsockname()[1]).split(); "
        "os.execv(sys.executable, [sys.executable, '-c', 'input()', *words])"
    )
    folder = root / "sites/north"
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{listen}; s.set_inheritable(True); {replaced}",
            words.replace("{folder}", str(folder)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = held.stdout.readline().strip()
        deadline = time.monotonic() + 30
        while str(ports_of(folder, HEALTH_PORT=port)["HEALTH_PORT"]) != "HEALTH_PORT: in order":
            assert time.monotonic() < deadline  # until it has its new words
            time.sleep(0.1)
        assert "taken by another program" in ports_of(root / "sites/south", HEALTH_PORT=port)["HEALTH_PORT"].fault
    finally:
        held.stdin.close()
        held.wait()
        held.stdout.close()
