"""Status of a run at the operator's, whose Flower is a stand-in here, at a site, and of the server's newest run."""

import json
import os

import numpy as np
import pytest
from start_scripts import executable

from app.core.node_store import NodeStore
from app.deployment.parties import DeploymentError
from app.deployment.remote_status import of_log, remote_table
from models.errors import MissingFileError
from scripts import federation

RUNS = {
    "runs": [
        {"run-id": "11", "status": "finished:completed", "pending-at": "2026-11-28T10:00:00Z", "running-at": "x"},
        {
            "run-id": "22",
            "status": "running",
            "pending-at": "2026-11-29T10:00:00Z",
            "running-at": "2026-11-29T10:00:05Z",
        },
    ]
}
_SILENT = "left out west: no reply before the deadline"
_ENDED = "left out south: error 8: its client process ended (x, y), left out west: refused: it has another key"
_LINES = [
    "\x1b[92mINFO \x1b[0m:      waiting for 1 of 3 sites; here: north, south; not here: none; 280 s more",
    "\x1b[93mWARNING \x1b[0m:   west has other versions than the server: numpy 2.1.0 instead of 2.2.0",
    f"\x1b[92mINFO \x1b[0m:      round 1/3, 12.5 s, 2 clients, loss 1.250, 2.3 MB up, 2.3 MB down, {_SILENT}",
    f"\x1b[92mINFO \x1b[0m:      round 2/3, 11.0 s, 1 clients, 2.3 MB up, 2.3 MB down, {_ENDED}",
    "\x1b[92mINFO \x1b[0m:      waiting for 2 of 3 sites; here: north; not here: south, west; 119 s more",
]
LOG = "".join(f"{line}\n" for line in _LINES)


@pytest.fixture
def operator(root, tmp_path):
    """The operator's folder, whose Flower answers with these runs and this log."""
    folder = root / "operator"
    (tmp_path / "runs.json").write_text(json.dumps(RUNS))
    (tmp_path / "log.txt").write_text(LOG)
    answers = f'list) cat {tmp_path}/runs.json;; log) [ "$2" = 22 ] && cat {tmp_path}/log.txt;;'
    executable(folder / "flwr.sh", f'case "$1" in {answers} esac')
    return folder


def shown(capsys, *words):
    federation.main(["status", *map(str, words)])
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1]), err


def test_the_operator_sees_rounds_who_is_awaited_and_who_was_left_out(operator, capsys):
    found, table = shown(capsys, operator)
    assert (found["run"], found["state"], found["round"], found["rounds"]) == ("22", "running", 2, 3)
    assert found["waits"] == "waiting for 2 of 3 sites; here: north; not here: south, west; 119 s more"
    assert found["left_out"] == [
        {"round": 1, "site": "west", "reason": "no reply before the deadline"},
        {"round": 2, "site": "south", "reason": "error 8: its client process ended (x, y)"},
        {"round": 2, "site": "west", "reason": "refused: it has another key"},
    ]
    assert found["versions"] == ["west has other versions than the server: numpy 2.1.0 instead of 2.2.0"]
    assert "waiting for 2 of 3 sites" in " ".join(table.split())
    assert shown(capsys, operator, "--run", "22", "--json")[1] == ""


def test_what_was_awaited_is_over_with_the_round():
    lines = ["waiting for 1 of 2 sites; here: a", "round 1/2 waits for share sums of a, b"]
    assert of_log(lines)["waits"] == lines[1]
    assert of_log([*lines, "round 1/2, 3.0 s, 2 clients, 1.0 MB up, 1.0 MB down"])["waits"] == ""
    ended = of_log([*lines, "final model: {'global_mAP': 0.5}"])
    assert (ended["waits"], ended["line"]) == ("", "final model: {'global_mAP': 0.5}")
    assert of_log([])["round"] == 0


def test_a_run_that_is_not_there_and_a_server_that_does_not_answer_are_named(operator):
    with pytest.raises(DeploymentError, match=r"the server has no run 33; it has 11, 22"):
        federation.main(["status", str(operator), "--run", "33"])
    executable(operator / "flwr.sh", "echo '\x1b[91mConnection refused\x1b[0m' >&2; exit 1")
    with pytest.raises(DeploymentError, match=r"no answer to list: Connection refused; .* preflight"):
        federation.main(["status", str(operator)])


def test_a_site_sees_its_own_rounds(root, capsys):
    site = root / "sites/north"
    with pytest.raises(DeploymentError, match="north has taken part in no run yet"):
        federation.main(["status", str(site)])
    store = NodeStore(site / "state/node/0123456789abcdef")
    for kind, number in (("global", 1), ("global", 2), ("local", 3)):
        store.write(kind, number, {"a": np.zeros(2, np.float32)}, {})
    (site / "state/models/0123456789abcdef").mkdir(parents=True)
    (site / "state/models/0123456789abcdef/global.safetensors").touch()
    found, table = shown(capsys, site)
    assert (found["site"], found["run"], found["round"], found["trained"]) == ("north", "0123456789abcdef", 2, 3)
    assert (found["models"], found["runs"]) == (["global.safetensors"], ["0123456789abcdef"])
    assert "north" in table
    with pytest.raises(DeploymentError, match="is of the authority, which sees no runs"):
        federation.main(["status", str(root / "authority")])


def test_the_server_shows_its_newest_run(root):
    server = root / "server"
    with pytest.raises(MissingFileError, match="no run has begun below"):
        federation.main(["status", str(server)])
    for place, moment in (("first", 10), ("outputs/quickstart/run-1", 20)):
        (server / "state" / place).mkdir(parents=True)
        (server / "state" / place / "settings.json").write_text("[")
        os.utime(server / "state" / place / "settings.json", (moment, moment))
    with pytest.raises(ValueError, match=r"quickstart/run-1/settings\.json"):
        federation.main(["status", str(server)])


def test_markup_in_a_reason_is_text():
    table = remote_table(
        {"left_out": [{"round": 1, "site": "north", "reason": "[red]x[/red]"}], "waits": "", "round": 0}
    )
    assert table.row_count == 2
    assert "[red]" in str(next(iter(table.columns[1].cells)))
