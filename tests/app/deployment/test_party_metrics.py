"""Metrics of parties: Flower's database, a site's record, what may not be in them, and the process that answers."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import version

import psutil
import pytest
from answered_metrics import row, samples, write_run
from flwr.supercore.state.schema.corestate_models import FlwrBase
from flwr.supercore.state.schema.linkstate_models import LinkStateBase
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import free_port, metrics_at
from sqlalchemy import create_engine

from app.core.prometheus import MetricsPortError
from app.core.site_activity import Done, note
from app.deployment.flower_metrics import FlowerDatabaseError, flower_metrics
from app.deployment.metrics import PartyMetrics, answer, main
from app.deployment.parties import DeploymentError


def write_database(state, now):
    """Flower's own tables, with two sites, three messages and a run that waits."""
    state.mkdir(exist_ok=True)
    engine = create_engine(f"sqlite:///{state / 'superlink.db'}")
    for base in (FlwrBase, LinkStateBase):
        base.metadata.create_all(engine)
    engine.dispose()
    with closing(sqlite3.connect(state / "superlink.db")) as database, database:
        nodes = [(1, "north", "online", now + 30), (2, "south", "online", now - 1), (3, "west", "registered", None)]
        nodes += [(4, "gone", "unregistered", now - 1), (5, "north", "unregistered", now - 1)]
        insert = "INSERT INTO node (node_id, name, status, online_until) VALUES (?, ?, ?, ?)"
        database.executemany(insert, nodes)
        insert = "INSERT INTO message_ins (message_id, delivered_at, created_at, ttl) VALUES (?, ?, ?, ?)"
        database.executemany(insert, [("a", "", now, 60), ("b", "", now - 90, 60), ("c", "x", now, 60)])
        task = "INSERT INTO task (task_id, type, run_id, pending_at) VALUES (1, 'x', 1, 'x')"
        database.execute(task)


def test_flowers_own_database_says_who_is_connected(root, answered):
    assert list(flower_metrics(root / "server/state")) == []  # not started yet
    write_database(root / "server/state", time.time())
    held = answered(root / "server").read()
    connected = {key[1]: value for key, value in held.items() if key[0] == "federation_server_site_connected"}
    assert connected == {"north": 1, "south": 0, "west": 0}
    queue = {key[1]: value for key, value in held.items() if key[0] == "federation_server_queue"}
    assert queue == {"messages": 1, "replies": 0, "runs": 1}


def test_what_cannot_be_read_is_left_out_and_named_once(root, answered, caplog):
    folder = write_run(root / "server")
    (root / "server/state/superlink.db").write_text("no database")
    (folder.path / "metrics.jsonl").write_text("{}\n")
    metrics = answered(root / "server")
    for _ in range(3):
        held = metrics.read()
    readable = {key[1]: value for key, value in held.items() if key[0] == "federation_server_readable"}
    assert readable == {"certificates": 1, "runs": 0, "flower": 0}
    assert ("federation_server_rounds_total",) not in held
    assert held["federation_server_free_bytes",] > 0
    assert caplog.text.count("metrics.jsonl, line 1") == 1
    assert caplog.text.count("superlink.db cannot be read") == 1
    (folder.path / "metrics.jsonl").write_text("")
    assert metrics.read()["federation_server_readable", "runs"] == 1
    with pytest.raises(FlowerDatabaseError):
        list(flower_metrics(root / "server/state"))


def test_a_site_shows_its_record_and_whether_it_works(root, answered):
    site = root / "sites/north"
    metrics = answered(site)
    held, name = metrics.read(), "federation_site_"
    assert (held[f"{name}rounds_total",], held[f"{name}state", "idle"]) == (0, 1)
    assert (f"{name}last_round",) not in held
    now = time.time()
    note(site / "state/node", Done("train", "answered", "a" * 16, 3, now, 4.0, 100, 40, row(4.0, pictures=6)))
    note(site / "state/node", Done("train", "refused", "a" * 16, 4, now + 9, 1.0, 50))
    (site / f"state/apps/{os.getpid()}-x").mkdir(parents=True)
    held = metrics.read()
    assert (held[f"{name}rounds_total",], held[f"{name}last_round",], held[f"{name}images_total",]) == (1, 3, 6)
    assert held[f"{name}seconds_total", "training"] == 5.0
    assert held[f"{name}seconds_total", "waiting"] == pytest.approx(5.0)
    assert held[f"{name}last_round_seconds", "encryption"] == 0.25
    assert held[f"{name}last_round_timestamp_seconds",] == pytest.approx(now + 4)
    assert held[f"{name}messages_total", "train", "refused"] == 1
    assert (held[f"{name}received_bytes_total",], held[f"{name}sent_bytes_total",]) == (150, 40)
    assert (held[f"{name}state", "working"], held[f"{name}state", "idle"]) == (1, 0)
    days = {key[1]: (value - now) / 86400 for key, value in held.items() if "certificate" in key[0]}
    assert 820 < days["share_key"] < 826 < days["authority"]


def test_metrics_hold_no_secret_and_no_path(root, answered):
    write_run(root / "server")
    for folder in (root / "server", root / "sites/north"):
        text = answered(folder).text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert not [line for line in lines if "/" in line or str(root) in line]
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix == ".key":
                assert not any(part in text for part in path.read_text(errors="replace").split() if len(part) > 20)


def test_names_follow_the_conventions_of_prometheus(root, answered):
    """Base units as the last word before `_total`, which counters have and gauges have not."""
    write_run(root / "server")
    for folder in (root / "server", root / "sites/north"):
        for family in text_string_to_metric_families(answered(folder).text()):
            assert re.fullmatch(r"federation_(server|site)_[a-z_]+", family.name)
            assert family.documentation
            names = {sample.name for sample in family.samples}
            assert all(name.endswith("_total") == (family.type == "counter") for name in names), family
            assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", family.name)


def test_who_has_no_metrics_and_what_hinders_them_is_named(root, capsys):
    with pytest.raises(DeploymentError, match="is of the operator, which has no metrics"):
        PartyMetrics(root / "operator")
    held = answer(root / "sites/north", 0, os.getpid())
    try:
        with pytest.raises(MetricsPortError, match=f"METRICS_PORT={held.port}: cannot listen on 127.0.0.1"):
            answer(root / "sites/north", held.port, os.getpid())
        parent = os.getppid()
        assert main(root / "sites/north", str(held.port), parent) == 2
        assert main(root / "sites/north", "many", parent) == 2
    finally:
        held.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"ERROR: no metrics: METRICS_PORT={held.port}: cannot listen")
    assert lines[1] == "ERROR: no metrics: METRICS_PORT=many is no port from 1 to 65535; leave it empty for no metrics"


def is_alive(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_process_ends_with_the_one_beside_which_it_runs(root):
    port = free_port()
    words = f"{sys.executable} -P -m app.deployment.metrics {root}/sites/north {port} $$ & echo $!; exec sleep 60"
    with subprocess.Popen(["/bin/sh", "-c", words], stdout=subprocess.PIPE, text=True) as parent:
        metrics = int(parent.stdout.readline())
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            try:
                text = metrics_at(port)
                break
            except OSError:
                time.sleep(0.1)
        assert samples(text)["federation_site_info", "parks", "north", version("fed-vehicle-reid")] == 1
        parent.kill()
        parent.wait()
        while is_alive(metrics):
            assert time.monotonic() < deadline
            time.sleep(0.1)
