"""The jobs of a sweep, what became of them, and their table, against figures computed here by hand."""

import csv
import json
import statistics

import pytest
from PIL import Image

from app.core.errors import StoredFileError
from app.core.run_folder import RunFolder
from app.experiment.sweep_chart import sweep_chart
from app.experiment.sweeps import Job, Sweep, SweepError, as_csv, differing, table
from models.errors import MissingFileError

FIGURES = {("0.1", "0"): 0.50, ("0.1", "1"): 0.54, ("0.01", "0"): 0.40, ("0.01", "1"): 0.41}


def ended(folder, mean_ap, seconds=12.5, bytes_up=3_000_000):
    with RunFolder(folder) as made:
        models = {"global": {"rank1": 0.9, "mAP": mean_ap}, "central": {"mAP": mean_ap + 0.05}}
        made.write_summary({"run_dir": str(folder), "seconds": seconds, "bytes_up": bytes_up, "models": models})


@pytest.fixture
def sweep(tmp_path):
    """Two rates and two seeds, and a job for each state besides."""
    jobs = [Job(["a=b", f"train.lr={rate}", f"seed={seed}"], str(n)) for n, (rate, seed) in enumerate(FIGURES)]
    jobs += [Job(["a=b", "train.lr=9", f"seed={seed}"], str(4 + seed)) for seed in range(3)]
    jobs[4].failed = "RayError: a | b"
    found = Sweep(tmp_path, jobs)
    found.write()
    for n, figure in enumerate(FIGURES.values()):
        ended(tmp_path / str(n), figure)
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "metrics.jsonl").touch()
    return Sweep.read(tmp_path)


def test_what_became_of_each_job(sweep):
    assert [sweep.state_of(job) for job in sweep.jobs] == ["ended"] * 4 + ["failed", "cut off", "waiting"]


def test_only_the_keys_that_differ(sweep):
    assert [row.keys for row in sweep.rows()][:2] == [
        {"train.lr": "0.1", "seed": "0"},
        {"train.lr": "0.1", "seed": "1"},
    ]
    assert differing([["+a=1", "b=x=y"], ["b=x=y"]]) == [{"a": "1"}, {}]
    assert differing([["a=1"], ["a=1"]]) == [{}, {}]


def test_the_table_has_every_model_and_the_spread_over_seeds(sweep):
    lines = table(sweep.rows()).splitlines()
    assert lines[0].split() == ["job", "(mAP)", "global", "central", "seconds", "MB", "up"]
    assert lines[1].split() == ["train.lr=0.1", "seed=0", "50.00", "%", "55.00", "%", "12.5", "3.0"]
    assert lines[5].endswith("failed: RayError: a | b")
    assert lines[6].endswith("cut off")
    for line, rate in zip(lines[8:], ("0.1", "0.01"), strict=True):
        values = [100 * value for (each, _), value in FIGURES.items() if each == rate]
        expected = f"{statistics.mean(values):.2f} ({statistics.stdev(values):.2f})"
        assert line.startswith(f"train.lr={rate} mean of 2 seeds")
        assert expected in line


def test_the_tables_in_files_say_the_same(sweep):
    rows = list(csv.DictReader(as_csv(sweep.rows()).splitlines()))
    assert [float(row["global"]) for row in rows[:4]] == list(FIGURES.values())
    assert [(row["train.lr"], row["state"]) for row in rows[4:]] == [
        ("9", "failed"),
        ("9", "cut off"),
        ("9", "waiting"),
    ]
    assert rows[4]["reason"] == "RayError: a | b"
    columns = {line.replace("\\|", "").count("|") for line in table(sweep.rows(), markdown=True).splitlines()}
    assert len(columns) == 1  # a bar in a reason opens no column


def test_the_chart_is_an_image_once_a_job_has_ended(sweep, tmp_path):
    assert not sweep_chart([row for row in sweep.rows() if row.state != "ended"], tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()
    assert sweep_chart(sweep.rows(), tmp_path / "sweep.png")
    with Image.open(tmp_path / "sweep.png") as chart:
        assert chart.width > 2 * 400  # a panel for the rate, and one for the bytes


@pytest.mark.parametrize("value", ["inf", "nan", "1e999"])
def test_a_value_without_a_place_on_a_line_stands_beside_the_others(sweep, tmp_path, value):
    sweep.jobs[0].words[1] = f"train.lr={value}"
    assert sweep_chart(sweep.rows(), tmp_path / "sweep.png")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"models": []}, "models"),
        ({"models": {"global": 1}}, "models.global"),
        ({"models": {"global": {"mAP": "x"}}}, "models.global"),
        ({"seconds": "x"}, "seconds"),
        ({"bytes_up": 1e400}, "bytes_up"),
    ],
)
def test_a_damaged_summary_is_named(sweep, changes, key):
    path = sweep.path / "0" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(StoredFileError, match=rf"0/summary\.json: '{key}' is "):
        sweep.rows()


def test_a_folder_without_a_sweep_or_with_a_damaged_one_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"no sweep in .*: sweep\.json is missing"):
        Sweep.read(tmp_path)
    for text in ("", "{", "[1]", json.dumps([{"words": "x", "folder": "0"}]), "[" * 100_000):
        (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(SweepError, match=r"sweep\.json is damaged"):
            Sweep.read(tmp_path)
