"""Files of a run that are JSON of another shape: the overview and the resume name the file, and no bug shows."""

import json
import re

import pytest

from app.deployment.status import read_status, status_table
from scripts import simulate
from scripts.command import command

SETTINGS = {"name": "x", "federation": {"rounds": 2}, "privacy": {"cipher": "plain"}}
SITE = {"pictures": 3, "loss_total": 1.0, "seconds_total": 2.0}
LINE = {"server_round": 1, "attempts": 1, "seconds": 1.0, "bytes_up": 1, "bytes_down": 1, "clients": {"a": SITE}}
LINE |= {"measures": {"global_mAP": 0.5, "loss_total": None}, "left_out": [{"client": "b", "reason": "x"}]}


@pytest.fixture
def run(tmp_path):
    """Writes the files of a run that is under way, some of them anew."""

    def write(**changed):
        files = {"settings.json": SETTINGS, "metrics.jsonl": LINE} | changed
        for name, value in files.items():
            text = value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"
            (tmp_path / name).write_bytes(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("settings.json", {}, "'name' is missing"),
        ("settings.json", SETTINGS | {"federation": 5}, "'federation' is 5"),
        ("settings.json", SETTINGS | {"federation": {"rounds": "2"}}, "'federation.rounds' is '2'"),
        ("progress.json", {"server_round": "2"}, "'server_round' is '2'"),
        ("progress.json", {"server_round": 10**400}, "'server_round' is 1000"),
        ("progress.json", {"server_round": 2, "waiting": 5}, "'waiting' is 5"),
        ("progress.json", {"waiting_for": 5}, "'waiting_for' is 5"),
        ("progress.json", {"waiting_for": {"a": 1}}, "'waiting_for.wanted' is missing"),
        ("progress.json", {"cohort": 5}, "'cohort' is 5"),
        ("progress.json", {"failed": 5}, "'failed' is 5"),
        ("metrics.jsonl", LINE | {"clients": {"a": 5}}, "line 1: 'clients.a' is 5"),
        ("metrics.jsonl", LINE | {"clients": {"a": {"seconds_total": "x"}}}, "'clients.a.seconds_total' is 'x'"),
        ("metrics.jsonl", LINE | {"left_out": [5]}, "line 1: 'left_out.0' is 5"),
        ("metrics.jsonl", LINE | {"left_out": [{"client": 5, "reason": ""}]}, "'left_out.0.client' is 5"),
        ("metrics.jsonl", LINE | {"measures": {"global_mAP": "x"}}, "'measures.global_mAP' is 'x'"),
        ("metrics.jsonl", LINE | {"seconds": 10**400}, "'seconds' is 1000"),
        ("metrics.jsonl", LINE | {"bytes_up": 10**400}, "'bytes_up' is 1000"),
    ],
)
def test_the_overview_names_file_and_key(run, name, value, said):
    folder = run(**{name: value})
    with pytest.raises(ValueError, match=f"{re.escape(str(folder / name))}.*: .*{re.escape(said.split(': ')[-1])}"):
        read_status(folder)


@pytest.mark.parametrize(
    "progress", [{}, {"server_round": 2}, {"server_round": 2, "attempt": 1, "cohort": ["a"], "waiting": ["a"]}]
)
def test_whole_files_give_an_overview(run, progress):
    no_seconds = LINE | {"clients": {name: {"seconds_total": None} for name in "abc"}}
    for line in (LINE, no_seconds):
        status = read_status(run(**{"progress.json": progress, "metrics.jsonl": line}))
        assert (status["round"], status["waiting"]) == (1, progress.get("waiting", []))
        assert status_table(status).row_count == len(status["clients"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("overrides.txt", b"\xff", "can't decode byte 0xff"),
        ("overrides.txt", b"'x", "are not words of a shell"),
        ("overrides.txt", b"seed=x", "seed must be of type int"),
        ("summary.json", {"models": 5}, "'run_dir' is missing"),
        ("summary.json", {"run_dir": "x", "models": 5}, "'models' is 5"),
        ("summary.json", {"run_dir": "x", "models": {"global": 5}}, "'models.global' is 5"),
        ("summary.json", {"run_dir": "x", "models": {"global": {"mAP": "x"}}}, "'models.global' is {'mAP': 'x'}"),
    ],
)
def test_a_resume_names_the_file(run, capsys, name, content, said):
    folder = run(**({"overrides.txt": b"seed=1"} | {name: content}))
    with pytest.raises(SystemExit):
        command(simulate.main, [f"resume={folder}"])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{folder / name}: " in last
    assert said in last
