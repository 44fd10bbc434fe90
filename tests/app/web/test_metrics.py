"""Metrics of the service: what they say, that a real Prometheus reads them, and that they hold nothing of anybody."""

import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import metrics_at, prometheus
from web_service import jpeg

from app.core.prometheus import MetricsPortError
from app.register.errors import DatabaseAwayError
from app.web import metrics as web_metrics
from app.web.metrics import Metrics

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def metrics(client):
    return Metrics(client.app.state.register, 0)  # closed with the service


def values(metrics):
    """Each sample by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics_at(metrics.port))
        for sample in family.samples
    }


def test_an_error_that_nobody_expected_is_counted(metrics, as_role, monkeypatch):
    client = as_role("guard")

    def bug(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(type(client.app.state.register.identification), "identify", bug)
    with pytest.raises(ZeroDivisionError):
        client.post("/api/identify", files=[("pictures", jpeg(1))])
    assert values(metrics)["register_request_seconds_count", "POST /api/identify", "500"] == 1


def test_what_the_service_does_is_counted(metrics, as_role, monkeypatch):
    guard = as_role("guard")
    for seed in (1, 1, 7):
        guard.post("/api/identify", files=[("pictures", jpeg(seed))]).raise_for_status()
    for _ in range(2):  # done once
        headers = {"idempotency-key": "k" * 16}
        guard.post("/api/identify", files=[("pictures", jpeg(2))], headers=headers).raise_for_status()
    assert guard.get("/vehicles/1/nothing").status_code == 404
    assert guard.post("/api/identify", files=[("pictures", ("a.jpg", b"no", "image/jpeg"))]).status_code == 415
    held = values(metrics)
    assert held["register_queries_total", "match"] == 3
    assert held["register_queries_total", "unknown"] == 1
    assert held["register_request_seconds_count", "POST /api/identify", "200"] == 5
    assert held["register_request_seconds_count", "POST /api/identify", "415"] == 1
    assert 0 < held["register_request_seconds_sum", "POST /api/identify", "200"] < 60
    assert held["register_request_seconds_count", "other", "404"] == 1
    assert held["register_rows", "vehicles"] == 2
    assert held["register_rows", "sightings"] == 4
    assert (held["register_ready",], held["register_queue",], held["register_password_queue",]) == (1, 0, 0)
    assert held["process_resident_memory_bytes",] > 50e6
    assert ("register_expected_strangers_named",) not in held
    report = {"evidence": {"strangers_named": {"share": 0.25}, "now": {"strangers_named": {"share": 0.5}}}}
    monkeypatch.setattr(web_metrics, "read_report", lambda _: report)
    assert values(metrics)["register_expected_strangers_named",] == 0.5


def test_metrics_hold_nothing_of_anybody(metrics, as_role):
    manager = as_role("manager")
    manager.post("/api/identify", files=[("pictures", jpeg(1))]).raise_for_status()
    for path in ("/vehicles/1", "/api/search?q=AB12", "/api/AB12", "/AB12"):
        manager.get(path)
    text = metrics_at(metrics.port)
    for word in ("AB", "A. Resident", "manager", "vehicles/1"):
        assert word not in text, word
    assert 'operation="GET /vehicles/{vehicle}"' in text


def test_a_database_that_is_away_leaves_the_rest(metrics, identification, monkeypatch):
    def away():
        raise DatabaseAwayError("away")

    monkeypatch.setattr(identification.models, "active", away)
    monkeypatch.setattr(identification.register, "counts", away)
    held = values(metrics)
    assert held["register_ready",] == 0
    assert ("register_rows", "vehicles") not in held
    assert held["process_resident_memory_bytes",] > 0


def test_a_port_that_is_taken_is_named(metrics, client):
    with pytest.raises(MetricsPortError, match=rf"--metrics-port {metrics.port}: cannot listen on 127.0.0.1"):
        Metrics(client.app.state.register, metrics.port)
    with pytest.raises(MetricsPortError, match="--metrics-port 70000"):
        Metrics(client.app.state.register, 70_000)


def test_the_port_is_for_this_machine_and_goes_with_the_service(metrics, client):
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", metrics.port)) == 0
    others = {row[4][0] for row in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for host in others:
        with socket.socket() as probe:
            assert probe.connect_ex((host, metrics.port)) != 0, host
    client.app.state.register.observer.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", metrics.port)) != 0
    client.app.state.register.observer = None


def test_a_real_prometheus_reads_them(metrics, as_role, tmp_path):
    as_role("guard").post("/api/identify", files=[("pictures", jpeg(1))]).raise_for_status()
    target = f"127.0.0.1:{metrics.port}"
    config = (
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: register, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    with prometheus(tmp_path, config) as running:
        query = 'register_queries_total{decision="match"}'
        found = running.wait_for(lambda: running.series(query), "the service is not read")
        assert (found[0]["metric"]["instance"], found[0]["value"][1]) == (target, "1")
