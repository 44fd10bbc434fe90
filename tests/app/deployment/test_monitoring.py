"""The operator's view of a real federation and a real register: metrics, board, alerts, health, logs."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import grpc
import psutil
import pytest
from answered_metrics import samples
from conftest import NETWORK, TRAINING, write_set
from federation_checks import divide
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_server import metrics_at, prometheus
from web_service import jpeg

from app.web.metrics import Metrics
from scripts.bench.loopback import Loopback, free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "docs/examples/monitoring"
SITES = ("north", "south")
OVERRIDES = (
    f"experiment=quickstart data=manifest data.val_split=val {NETWORK} {TRAINING} "
    "federation.rounds=2 federation.measure_every=1 federation.deadline=200 train.epochs=2 "
    "evaluation.ranked_lists=0 evaluation.compare=[]"
)


def queries_of_the_board():
    """Each query of the board, with the times that Grafana puts in."""
    board = json.loads((MONITORING / "grafana-board.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "1m").replace("$__range", "1h") for query in found]


def values(port):
    """Each sample by name and values of labels, in the order of their names."""
    return samples(metrics_at(port))


def configuration(ports, tmp_path):
    """The configuration of the docs, with the ports of this test and every second."""
    text = (MONITORING / "prometheus.yml").read_text().replace("15s", "1s\n  evaluation_interval: 1s")
    for port, targets in ports.items():
        text = text.replace(f'"127.0.0.1:{port}"', ", ".join(f'"127.0.0.1:{each}"' for each in targets))
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    return text


def is_serving(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=10)
    return answer.status == HealthCheckResponse.SERVING


def listeners(port):
    """Addresses on which a port is listened to."""
    return {
        each.laddr.ip.removeprefix("::ffff:")
        for each in psutil.net_connections("tcp")
        if each.status == "LISTEN" and each.laddr.port == port
    }


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def federation(tmp_path):
    """Ended run of a real server and two real sites, which are still there; their ports by name."""
    pictures = write_set(tmp_path / "set", vehicles={"a": 5, "b": 3})
    parts = dict(zip(SITES, divide(pictures, tmp_path / "parts").values(), strict=True))
    (tmp_path / "federation").mkdir()
    with Loopback(tmp_path / "federation", parts) as real:
        ports = {name: (free_port(), free_port()) for name in ("server", *SITES)}
        for name, (metrics, health) in ports.items():
            more = {"LOG_FORMAT": "json", "LOG_FILE": "log/north.jsonl"} if name == "north" else {}
            real.set(name, METRICS_PORT=metrics, HEALTH_PORT=health, **more)
        real.start_all()
        folder, process = real.run(real.root / "server/state/first", OVERRIDES)
        process.wait(timeout=500)
        assert (folder.path / "summary.json").exists(), real.last_words()
        yield real, folder, ports


@pytest.mark.slow
def test_the_board_has_a_series_for_each_query_from_real_processes(federation, client, as_role, tmp_path):
    real, folder, ports = federation
    service = Metrics(client.app.state.register, 0)
    as_role("guard").post("/api/identify", files=[("pictures", jpeg(1))]).raise_for_status()
    targets = {9465: [ports["server"][0]], 9466: [ports[site][0] for site in SITES], 9464: [service.port]}
    with prometheus(tmp_path, configuration(targets, tmp_path)) as running:
        running.wait_for(lambda: len(running.series("up == 1")) == 4, "not all of them answer")
        for query in queries_of_the_board():
            running.wait_for(lambda query=query: running.series(query), f"{query} has no series", 20)
        rules = [rule for group in running.get("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        firing = {rule["name"] for rule in rules if rule["alerts"]}
        assert firing <= {"FederationDiskFull"}  # which is about this machine
    summary = folder.read_summary()
    server, lines = values(ports["server"][0]), folder.read_rounds()
    assert server["federation_server_rounds_total",] == 2
    assert server["federation_server_received_bytes_total",] == summary["bytes_up"]
    assert server["federation_server_sent_bytes_total",] == summary["bytes_down"]
    assert server["federation_server_run_state", "ended"] == 1
    assert [server["federation_server_site_connected", site] for site in SITES] == [1, 1]
    for site in SITES:
        own = values(ports[site][0])
        assert (own["federation_site_rounds_total",], own["federation_site_last_round",]) == (2, 2)
        told = sum(line["clients"][site]["seconds_encrypt"] for line in lines[:2])
        assert own["federation_site_seconds_total", "encryption"] == pytest.approx(told)
        assert server["federation_server_site_seconds_total", "encryption", site] == pytest.approx(told)
        parts = ("data", "training", "measuring", "other")
        whole = told + sum(own["federation_site_seconds_total", part] for part in parts)
        clients_own = sum(line["clients"][site]["seconds_total"] for line in lines[:2])
        assert clients_own < whole < summary["seconds"]  # the client is opened first, its images with it
        assert own["federation_site_state", "idle"] == 1
    total = sum(values(ports[site][0])["federation_site_sent_bytes_total",] for site in SITES)
    assert total == summary["bytes_up"]
    for name, (metrics, health) in ports.items():
        assert is_serving(health)
        assert listeners(metrics) == listeners(health) == {"127.0.0.1"}
        text = metrics_at(metrics)
        for word in (str(tmp_path), "/", "BEGIN", "federation.key"):
            assert word not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE), f"{name}: {word}"
    assert_logs(real)


def assert_logs(real):
    file = real.site("north") / "state/log/north.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["party"] for row in rows} == {"north"}
    assert any("SuperNode ID:" in row["message"] and row["level"] == "INFO" for row in rows)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", row["time"]) for row in rows)
    assert "SuperNode" not in real.log("north")
    for name in ("server", "south"):
        lines = real.log(name).splitlines()
        assert all(re.match(rf"\S+Z (DEBUG|INFO|WARNING|ERROR) {name}: ", line) for line in lines), lines
    assert "\x1b" not in file.read_text() + real.log("server") + real.log("south")
    assert not list(real.root.rglob("log.pipe"))
    watchers = psutil.Process(real.processes["south"].pid).children()
    assert sum("app.deployment.metrics" in each.cmdline() for each in watchers) == 1
    real.stop("south")
    deadline = time.monotonic() + 20
    while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in watchers):
        assert time.monotonic() < deadline, watchers
        time.sleep(0.2)


def test_the_alerts_are_valid():
    if (program := shutil.which("promtool")) is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    done = subprocess.run(
        [program, "check", "config", str(MONITORING / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
