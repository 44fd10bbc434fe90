"""Status of a run for the operator: from the files of real runs, cut at every point of their life."""

import io
import json
import logging
import os
import re
import time
from types import SimpleNamespace

import pytest
from federation_checks import PowerCutError, kind_of
from flwr.app import Error, Message
from in_process_grid import InProcessGrid
from rich.console import Console

from app.core.run_folder import RunFolder
from app.deployment.remote_status import of_log
from app.deployment.status import read_status, status_table
from app.federation import recorder
from scripts import federation
from strategies import messages as m
from strategies.rounds import FederationError

pytestmark = pytest.mark.slow


def shown(status):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(status_table(status))
    return console.export_text()


def test_a_run_in_the_middle_of_a_round(make_federation):
    federation, found = make_federation(changes="federation.rounds=4"), []

    def stop(message, reply):
        if kind_of(message) == ("train", 2) and message.metadata.dst_node_id == 1:
            reply.content[m.UPDATE] = m.bytes_record(m.UPDATE, b"garbage")
        if kind_of(message) == ("train", 3) and message.metadata.dst_node_id == 2:
            found.append(read_status(federation.folder.path))
            raise PowerCutError
        return reply

    with pytest.raises(PowerCutError):
        federation.run(stop)
    [status] = found
    lines = federation.folder.read_metrics()
    assert (status["state"], status["round"], status["rounds"]) == ("running", 2, 4)
    assert status["waiting"] == ["client-0", "client-1"]
    assert status["bytes_up"] == sum(line["bytes_up"] for line in lines)
    assert status["measures"]["global_mAP"] == lines[1]["measures"]["global_mAP"]
    first, second = status["clients"]["client-0"], status["clients"]["client-1"]
    assert (first["rounds"], first["left_out"]) == (1, 1)
    assert "payload of 7 bytes" in first["last_reason"]
    assert first["seconds"] is None  # it is not part of the last round
    assert (second["rounds"], second["left_out"], second["last_reason"]) == (2, 0, "")
    assert second["seconds"] == lines[1]["clients"]["client-1"]["seconds_total"]
    text = shown(status)
    assert "round 2 of 4 (now round 3)" in text
    assert text.count("working") == 2


def test_the_exchange_of_shares_names_the_sites_whose_share_sum_is_missing(make_federation, caplog, monkeypatch):
    """The server is cut off when the first of two has answered, and the second one has not."""
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)  # to where pytest listens
    federation, found = make_federation(changes="federation.rounds=2 privacy=kahe"), []
    pull = InProcessGrid.pull_messages

    def look(grid, ids):
        replies = list(pull(grid, ids))
        asked = [message.content[m.CONFIG] for message in grid.sent if message.metadata.message_id in ids]
        if replies and asked[0].get(m.ACTION) == m.ACTION_SUM_SHARES:
            found.append(read_status(federation.folder.path))
        return replies

    monkeypatch.setattr(InProcessGrid, "pull_messages", look)
    federation.run()
    assert [status["share_sums"] for status in found[:2]] == [["client-0", "client-1"], ["client-1"]]
    assert [status["waiting"] for status in found[:2]] == [[], []]
    with_one = shown(found[1])
    assert "waits for share sums of client-1" in with_one
    assert "(now round 1)" in with_one
    assert (with_one.count("working"), with_one.count("answered")) == (1, 1)
    logged = [record.getMessage() for record in caplog.records if "share sums" in record.getMessage()]
    assert logged == [f"round {number} waits for share sums of client-0, client-1" for number in (1, 2)]
    assert read_status(federation.folder.path)["share_sums"] == []


def test_the_sites_that_have_not_answered_the_final_model_are_named(make_federation, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)  # to where pytest listens
    federation, found = make_federation(changes="federation.rounds=2 personalise.enabled=true"), []

    def look(message, reply):
        if message.metadata.message_type == "evaluate":
            found.append(read_status(federation.folder.path))
        return reply

    with caplog.at_level(logging.INFO):
        federation.run(look)
    # Both are asked before the first answer is taken: this grid computes an answer when a message is pushed.
    assert [status["waiting"] for status in found] == [["client-0", "client-1"]] * 2
    assert all(status["final"] and status["attempt"] == 1 for status in found)
    assert "round 2 of 2 (now the final model)" in shown(found[0])
    assert shown(found[0]).count("working") == 2
    line = "waiting for answers to the final model from client-0, client-1; 21780 s at most"  # 180 + 21600
    assert line in caplog.messages
    assert of_log(caplog.messages)["waits"] == ""
    assert of_log(caplog.messages[: caplog.messages.index(line) + 1])["waits"] == line
    progress = federation.folder.read_progress()
    assert (progress["waiting"], progress["attempts"]) == ([], 2), "the final model is no attempt at a round"


def test_a_site_that_fails_with_the_final_model_is_not_awaited(make_federation):
    federation, found = make_federation(changes="federation.rounds=1"), []

    def fail(message, reply):
        if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == 1:
            return Message(Error(5, "Node Unavailable"), reply_to=message)
        return reply

    replied = recorder.Recorder.replied

    def look(self, client):
        replied(self, client)
        found.append((client, read_status(self.folder.path)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder.Recorder, "replied", look)
        federation.run(fail)
    [failed] = [client for client, status in found if status["final"] and status["waiting"] == ["client-1"]]
    assert failed == "client-0"
    assert found[-1][0] == "client-1"


def test_a_server_that_waits_for_hours_gives_signs_of_life(make_federation, monkeypatch):
    federation = make_federation(changes="federation.rounds=1").run()
    progress, now, touched = federation.folder.path / "progress.json", [1000.0], []
    monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: now[0]))
    listener = recorder.Recorder(federation.folder, "run", None, 1, "mAP")
    for _ in range(7):
        os.utime(progress, (0, 0))
        listener.alive()
        touched.append(progress.stat().st_mtime > time.time() - 600)
        now[0] += 10
    assert touched == [True, False, False] * 2 + [True]
    progress.unlink()
    now[0] += 60
    listener.alive()
    assert not progress.exists()


def test_a_run_that_ended(make_federation, capsys):
    run = make_federation().run()
    federation.main(["status", str(run.folder.path), "--json"])
    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["round"], status["waiting"]) == ("ended", 3, [])
    assert status["measures"]["global_mAP"] == run.folder.read_summary()["measures"]["global_mAP"]
    federation.main(["status", str(run.folder.path)])
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {**again, "silent_seconds": 0} == {**status, "silent_seconds": 0}
    assert "working" not in shown(status)


def test_a_straggler_stands_out(make_federation):
    run = make_federation(changes="federation.rounds=1").run()
    [line, final] = run.folder.read_metrics()
    seconds = {"a": 10.0, "b": 11.0, "c": 9.0, "d": 17.0}
    line["clients"] = {name: {**line["clients"]["client-0"], "seconds_total": value} for name, value in seconds.items()}
    run.folder.drop_metrics_from(0)
    run.folder.append_metrics(line)
    run.folder.append_metrics(final)
    clients = read_status(run.folder.path)["clients"]
    # The median of 9, 10, 11 and 17 is 10.5, and 1.5 times that is 15.75.
    assert [name for name, row in clients.items() if row["straggler"]] == ["d"]
    assert "17.0 slow" in shown(read_status(run.folder.path))


def test_a_run_that_failed_says_why_and_is_not_waited_for(make_federation, capsys):
    run = make_federation(changes="federation.quorum=1.0")

    def fail(message, reply):
        if kind_of(message) == ("train", 2):
            reply.content[m.UPDATE] = m.bytes_record(m.UPDATE, b"[/garbage]")
        return reply

    with pytest.raises(FederationError):
        run.run(fail)
    federation.main(["status", str(run.folder.path)])  # it ends
    status = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status["state"] == "failed"
    assert status["reason"].startswith(
        "FederationError: round 2 stayed below the quorum: client-0: payload of 10 bytes"
    )
    assert status["waiting"] == []
    assert "round 2 stayed below the quorum" in shown(status)
    assert status["silent_seconds"] < 60
    run.resume()
    assert read_status(run.folder.path)["state"] == "ended"


def test_names_and_reasons_are_shown_as_they_are(make_federation):
    run = make_federation(changes="federation.rounds=1").run()
    [line, final] = run.folder.read_metrics()
    line["left_out"] = [{"client": "[/x]", "reason": "[bold]no[/y]"}, {"client": "the sum", "reason": "none"}]
    run.folder.drop_metrics_from(0)
    run.folder.append_metrics(line)
    run.folder.append_metrics(final)
    text = shown(read_status(run.folder.path))
    assert "[/x]" in text
    assert "[bold]no[/y]" in text
    queries = final["measures"]["global_queries"]
    assert re.search(rf"global_queries\s+{queries:g}(?![\d.])", text), "a count is no percentage"
    assert "the sum" not in text


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no run has begun in {tmp_path}"):
        read_status(tmp_path)


def test_a_run_that_waits_for_sites_says_for_whom_and_how_long_yet(make_federation, caplog, monkeypatch):
    """Two sites took part; when the server is started again, one of them is away."""
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)  # to where pytest listens
    changes = "federation.rounds=3 federation.start_timeout=2 federation.quorum=1.0"
    federation = make_federation(changes=changes)

    def stop(message, reply):
        if kind_of(message) == ("train", 2):
            raise PowerCutError
        return reply

    with pytest.raises(PowerCutError):
        federation.run(stop)
    federation.node_configs = federation.node_configs[:1]

    def real(message, reply):  # a real node does not know how many there will be
        if kind_of(message)[0] == "query":
            reply.content[m.INFO][m.NUM_NODES] = 0
        return reply

    found, write = [], RunFolder.write_progress

    def watched(folder, progress):
        write(folder, progress)
        if "waiting_for" in progress and "failed" not in progress:
            found.append(read_status(folder.path))

    monkeypatch.setattr(RunFolder, "write_progress", watched)
    with pytest.raises(FederationError, match=r"1 of 2 nodes after the start timeout \(here: client-0"):
        federation.resume(real)
    [status] = found
    missing = status["waiting_for"]
    assert (missing["wanted"], missing["here"], missing["absent"]) == (2, ["client-0"], ["client-1"])
    assert 0 < missing["seconds_left"] <= 2
    text = " ".join(shown(status).split())
    assert "waiting for 1 of 2 sites; here: client-0; not here: client-1;" in text
    assert re.search(r"waiting for 1 of 2 sites; here: client-0; not here: client-1; [12] s more", caplog.text)
    after = read_status(federation.folder.path)
    assert (after["state"], after["waiting_for"]) == ("failed", None)
    assert federation.folder.read_progress()["attempts"] == 2  # what epsilon is counted from is kept
