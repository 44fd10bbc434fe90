"""Metrics of a server's runs, beside `federation status` and plain loops over the same files."""

import os
import re
import time

import pytest
from answered_metrics import LINES, SETTINGS, line, row, write_run

from app.deployment.server_metrics import MOST_SITES, REASONS, kind_of
from app.deployment.status import read_status
from app.federation.global_model import SUM_ALTERED, UNUSABLE
from strategies.exchange import NO_REPLY, _error
from strategies.rounds import THE_SUM


def test_a_run_agrees_with_its_status_and_with_loops_over_its_lines(root, answered):
    folder = write_run(root / "server")
    held, status = answered(root / "server").read(), read_status(folder.path)
    name = "federation_server_"
    assert held[f"{name}rounds_total",] == status["round"] == 2
    assert held[f"{name}rounds_planned",] == status["rounds"]
    assert held[f"{name}received_bytes_total",] == status["bytes_up"] == 200
    assert held[f"{name}sent_bytes_total",] == status["bytes_down"] == 140
    assert held[f"{name}round_attempts_total",] == 3
    assert held[f"{name}round_seconds_total",] == 22.0
    assert held[f"{name}last_round_seconds",] == 12.0
    assert held[f"{name}run_info", "kahe", "quickstart", "dual_reid"] == 1
    assert [held[f"{name}run_state", state] for state in ("running", "ended", "failed")] == [1, 0, 0]
    assert held[f"{name}runs", "running"] == 1
    assert time.time() - held[f"{name}run_activity_timestamp_seconds",] < 60
    assert held[f"{name}global_ratio", "mAP"] == status["measures"]["global_mAP"]
    assert (f"{name}global_ratio", "queries") not in held  # a count, no share
    assert held[f"{name}loss",] == status["measures"]["loss_total"]
    for site, row_of_status in status["clients"].items():
        if site in ("north", "south"):
            assert held[f"{name}site_left_out_total", site] == row_of_status["left_out"]
            assert held[f"{name}site_replies_total", site] == row_of_status["rounds"]
    part = {each: held[f"{name}site_seconds_total", each, "north"] for each in ("training", "measuring", "waiting")}
    assert part == {"training": 10.0, "measuring": 2.0, "waiting": 3.0}  # twice 5; 2; (10 - 8) + (12 - 11)
    whole = sum(value for key, value in held.items() if key[0] == f"{name}site_seconds_total" and key[2] == "north")
    assert whole == pytest.approx(22.0)  # the parts of a site are the seconds of its rounds
    assert {key[1] for key in held if key[0] == f"{name}left_out_total"} == set(REASONS)
    assert (held[f"{name}left_out_total", "late"], held[f"{name}left_out_total", "refused"]) == (1, 1)
    assert held["federation_server_process_resident_memory_bytes",] > 10e6  # of the process that was named


def test_sites_that_are_awaited(root, answered):
    now = {"attempts": 4, "server_round": 3, "attempt": 1, "cohort": ["north", "south", "west"], "waiting": ["west"]}
    folder = write_run(root / "server", progress=now)
    metrics = answered(root / "server")
    held, name = metrics.read(), "federation_server_site"
    counts = {state: held[f"{name}s", state] for state in ("cohort", "answered", "awaited", "share_sums_awaited")}
    assert counts == {"cohort": 3, "answered": 2, "awaited": 1, "share_sums_awaited": 0}
    assert [held[f"{name}_awaited", site] for site in ("north", "south", "west")] == [0, 0, 1]
    folder.write_progress({**now, "waiting": [], "share_sums": ["north"]})
    held = metrics.read()
    assert (held[f"{name}s", "share_sums_awaited"], held[f"{name}_awaited", "north"]) == (1, 1)
    missing = {"wanted": 3, "here": ["north"], "absent": ["south"], "refused": ["west: no"], "until": 0.0}
    folder.write_progress({**now, "waiting": [], "waiting_for": missing})
    held = metrics.read()
    assert [held[f"{name}s", state] for state in ("needed", "here", "absent", "refused")] == [3, 1, 1, 1]
    assert held[f"{name}_awaited", "south"] == 1
    folder.write_progress({**now, "failed": "stopped"})
    held = metrics.read()
    assert (held["federation_server_run_state", "failed"], held[f"{name}s", "cohort"]) == (1, 0)


def test_counters_never_fall_while_a_round_is_run_again(root, answered):
    folder = write_run(root / "server")
    metrics = answered(root / "server")
    before = metrics.read()
    folder.drop_metrics_from(2)
    growing = {key: value for key, value in before.items() if key[0].endswith("_total")}
    held = metrics.read()
    assert all(held[key] >= value for key, value in growing.items() if "process" not in key[0])
    folder.append_metrics(LINES[1])
    assert metrics.read()["federation_server_rounds_total",] == 2
    write_run(root / "server", "second", lines=LINES[:1], progress={"attempts": 1})
    os.utime(folder.path / "progress.json", (1, 1))
    for name in ("settings.json", "metrics.jsonl"):
        os.utime(folder.path / name, (1, 1))
    assert metrics.read()["federation_server_rounds_total",] == 1  # begins anew, as after a restart


def test_two_runs_at_once_do_not_take_turns(root, answered):
    first = write_run(root / "server", settings={**SETTINGS, "name": "one"})
    metrics = answered(root / "server")
    assert metrics.read()["federation_server_run_info", "kahe", "one", "dual_reid"] == 1
    second = write_run(root / "server", "outputs/two/run-1", settings={**SETTINGS, "name": "two"})
    now = time.time()
    for folder, moment in ((first, now - 20), (second, now)):
        for name in ("settings.json", "metrics.jsonl", "progress.json"):
            os.utime(folder.path / name, (moment, moment))
    held = metrics.read()
    assert held["federation_server_run_info", "kahe", "one", "dual_reid"] == 1
    assert held["federation_server_runs", "running"] == 2
    first.write_summary({})
    os.utime(second.path / "progress.json", (now + 5, now + 5))
    assert metrics.read()["federation_server_run_info", "kahe", "two", "dual_reid"] == 1


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (NO_REPLY, "late"),
        ("silent still: no reply within 30 s", "late"),
        (_error(5, ""), "gone"),
        (_error(8, ""), "process_ended"),
        (_error(200, "north: refused by the site's policy (privacy.ciphers); the site's own log says why"), "policy"),
        (_error(200, "north: the app bundle 6a8d is not approved at this site and was not run: x"), "not_approved"),
        ("refused: it has another key", "refused"),
        ("refused: its reply proves no name", "refused"),
        (UNUSABLE, "unusable_sum"),
        (SUM_ALTERED, "unusable_sum"),
        ("dealt bad shares, says north", "shares"),
        (_error(200, "north: RuntimeError; the site's own log says more"), "error"),
        ("no record 'info' in the message", "other"),
    ],
)
def test_reasons_have_few_kinds(reason, kind):
    assert kind_of(reason) == kind
    assert kind in REASONS


def test_labels_are_few_whatever_a_run_names(root, answered):
    """Names of sites have certificates; the server's own words are none, and a federation has no thousand sites."""
    clients = {f"site-{number:04d}": row(1.0) for number in range(1000)}
    odd = [("node 12345", "x"), (THE_SUM, "x"), ("x (node 7)", "/srv/KA51AB1234.jpg"), ("a/b", "y")]
    folder = write_run(root / "server", lines=[line(1, 2.0, clients, odd)], progress={"cohort": [*clients]})
    metrics = answered(root / "server")
    text = metrics.text()
    assert len([row for row in text.splitlines() if not row.startswith("#")]) < 12 * MOST_SITES
    values = re.findall(r'="([^"]*)"', text)
    assert not [value for value in values if re.search(r"[/\s]|node|KA51|the sum", value)]
    assert str(folder.path) not in text
