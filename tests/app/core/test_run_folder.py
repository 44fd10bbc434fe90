import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from full_disk import on_a_full_disk
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import app.core.run_folder
from app.core.run_folder import RunFolder, format_table


@pytest.fixture
def run(tmp_path):
    with RunFolder(tmp_path / "outputs" / "two_cam" / "now") as folder:
        yield folder


def disk_is_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(run):
    return sorted(path.name for path in run.path.iterdir())


def test_folders_made_at_the_same_time_differ(tmp_path):
    runs = [RunFolder.create(tmp_path, "two_cam") for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert {run.path.parent for run in runs} == {tmp_path / "two_cam"}


def test_a_disk_that_takes_half_an_array_is_an_os_error_and_leaves_the_older_file(run):
    run.save_arrays("global", {"w": np.ones(3, np.float32)})
    large = {"w": np.ones(5000, np.float32)}
    assert "OSError" in on_a_full_disk(lambda: run.save_arrays("global", large), largest=10_000)
    np.testing.assert_array_equal(run.load_arrays("global")[0]["w"], np.ones(3, np.float32))


def test_settings_and_summary_come_back(run):
    run.write_settings({"task": "dual_reid", "data": {"root": Path("data/veri"), "seed": np.int64(3)}})
    run.write_summary({"mAP": np.float32(0.5), "loss": float("inf"), "cmc": np.array([0.5, np.nan]), "done": True})
    assert run.read_settings() == {"task": "dual_reid", "data": {"root": "data/veri", "seed": 3}}
    assert run.read_summary() == {"mAP": 0.5, "loss": None, "cmc": [0.5, None], "done": True}
    assert names(run) == ["settings.json", "summary.json"]


def test_metrics_grow_line_by_line_and_survive_reopening(run):
    assert run.read_metrics() == []
    run.append_metrics({"server_round": 1, "clients": {"a": {"loss": float("nan")}}})
    RunFolder(run.path).append_metrics({"server_round": np.int64(2), "mAP": 0.5})
    assert run.read_metrics() == [
        {"server_round": 1, "clients": {"a": {"loss": None}}},
        {"server_round": 2, "mAP": 0.5},
    ]
    with pytest.raises(ValueError, match="server_round"):
        run.append_metrics({"mAP": 0.5})


@given(st.integers(0, 60))
def test_half_a_line_at_the_end_is_not_read_and_goes_with_the_next(tmp_path_factory, cut):
    run = RunFolder(tmp_path_factory.mktemp("run"))
    run.append_metrics({"server_round": 1})
    run.append_metrics({"server_round": 2, "mAP": 0.25})
    path = run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut] if cut else path.read_bytes())
    whole = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert run.read_metrics() == whole
    run.append_metrics({"server_round": 3})
    assert run.read_metrics() == [*whole, {"server_round": 3}]


def test_a_broken_line_in_the_middle_is_named(run):
    (run.path / "metrics.jsonl").write_text('{"server_round": 1}\n{"server_\n{"server_round": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        run.read_metrics()


WHOLE = {"server_round": 1, "attempts": 1, "seconds": 0.5, "bytes_up": 1, "bytes_down": 1}
WHOLE |= {"clients": {}, "measures": {}, "left_out": []}


@pytest.mark.parametrize(
    "line",
    ["null", "3", "[]", '"text"', "{}", '{"server_round": "1"}', '{"server_round": true}', "[" * 99999, "\xff", ""],
)
def test_a_line_that_is_of_no_round_is_named(run, line):
    before = f"{json.dumps(WHOLE)}\n{line}\n".encode("latin-1")
    (run.path / "metrics.jsonl").write_bytes(before)
    for read in (run.read_metrics, run.read_rounds, lambda: run.drop_metrics_from(1), run.refuse_earlier_run):
        with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: "):
            read()
    assert (run.path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("key", [key for key in WHOLE if key != "server_round"])
@pytest.mark.parametrize("value", [None, "x", True])
def test_a_line_that_no_server_wrote_is_named(run, key, value):
    run.append_metrics(WHOLE)
    run.append_metrics({**WHOLE, "server_round": 2, key: value})
    with pytest.raises(ValueError, match=rf"metrics\.jsonl, line 2: '{key}' is {value!r}"):
        run.read_rounds()


def test_half_a_line_is_dropped_with_a_warning_when_a_run_goes_on(run, caplog):
    (run.path / "metrics.jsonl").write_text(f'{json.dumps(WHOLE)}\n{{"server_ro')
    assert run.read_rounds() == [WHOLE]
    run.drop_metrics_from(2)
    assert "metrics.jsonl: half a line at its end" in caplog.text
    assert (run.path / "metrics.jsonl").read_text() == f"{json.dumps(WHOLE)}\n"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"null"])
def test_a_damaged_file_of_the_run_is_named(run, content):
    for name in ("summary", "progress", "settings"):
        (run.path / f"{name}.json").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.json: no"):
            getattr(run, f"read_{name}")()


def test_a_failed_append_leaves_no_trace(run, monkeypatch):
    run.append_metrics({"server_round": 1})
    monkeypatch.setattr(app.core.run_folder.os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="No space"):
        run.append_metrics({"server_round": 2})
    assert (run.path / "metrics.jsonl").read_text() == '{"server_round": 1}\n'


def test_resume_drops_the_rounds_it_repeats(run):
    for server_round in range(5):
        run.append_metrics({"server_round": server_round})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"server_round": 5, "mA')
    run.drop_metrics_from(3)
    assert (run.path / "metrics.jsonl").read_text().splitlines() == [f'{{"server_round": {i}}}' for i in range(3)]
    run.drop_metrics_from(0)
    assert run.read_metrics() == []


def test_arrays_come_back_with_their_layout_and_metadata(run):
    arrays = {
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "every_other": np.arange(8, dtype=np.int64)[::2],
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 4), np.float16),
    }
    path = run.save_arrays("round_3", arrays, {"settings": '{"task": "dual_reid"}'})
    loaded, metadata = run.load_arrays("round_3")
    assert path == run.path / "round_3.safetensors"
    assert metadata == {"settings": '{"task": "dual_reid"}'}
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
    run.save_arrays("plain", {"x": np.ones(2)})
    assert run.load_arrays("plain")[1] == {}
    with pytest.raises(FileNotFoundError, match=r"no saved arrays: .*; there are: plain, round_3; model=plain takes"):
        run.load_arrays("round_4")


def write_half(_arrays, path, _metadata):
    Path(path).write_bytes(b"half")
    disk_is_full()


@pytest.mark.parametrize("where", ["writing", "syncing", "renaming"])
def test_a_failure_leaves_the_old_files_whole(run, monkeypatch, where):
    run.save_arrays("model", {"x": np.ones(3)}, {"round": "1"})
    run.write_summary({"mAP": 0.5})
    run.append_metrics({"server_round": 1})
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with monkeypatch.context() as broken:
        if where == "writing":
            broken.setattr(app.core.run_folder, "save_file", write_half)
            broken.setattr(Path, "write_text", disk_is_full)
            broken.setattr(Path, "write_bytes", disk_is_full)
        else:
            broken.setattr(*((os, "fsync") if where == "syncing" else (Path, "replace")), disk_is_full)
        with pytest.raises(OSError, match="No space"):
            run.save_arrays("model", {"x": np.zeros(3)}, {"round": "2"})
        with pytest.raises(OSError, match="No space"):
            run.write_summary({"mAP": 0.9})
        with pytest.raises(OSError, match="No space"):
            run.drop_metrics_from(1)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_folder_is_held_until_it_is_closed(run):
    run.hold()
    run.clear()
    run.drop_metrics_from(1)
    other = RunFolder(run.path)
    with pytest.raises(RuntimeError, match="another run is writing to"):
        other.hold()
    run.close()
    other.hold()
    other.close()


def test_tensorboard_shows_the_repeated_round_once(run):
    run.log_scalars({"global/mAP": 0.1}, 1)
    run.log_scalars({"global/mAP": 0.2}, 2)
    run.close()
    resumed = RunFolder(run.path)
    resumed.drop_metrics_from(2)
    resumed.log_scalars({"global/mAP": 0.3}, 2)
    resumed.close()
    events = EventAccumulator(str(run.path))
    events.Reload()
    points = [(point.step, pytest.approx(point.value)) for point in events.Scalars("global/mAP")]
    assert points == [(1, 0.1), (2, 0.3)]


def test_without_tensorboard_nothing_is_logged(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary.writer.event_file_writer", None)
    run.log_scalars({"global/mAP": 0.1}, 1)
    assert names(run) == []


def test_table_of_models():
    rows = {
        "global": {"mAP": 0.51234, "rank1": 0.9, "rank5": 1.0, "mINP": None, "queries": 8},
        "stand_alone": {"mAP": float("nan"), "rank1": 0.05},
    }
    assert format_table(rows).splitlines() == [
        "model            mAP    rank1    rank5     mINP",
        "global       51.23 %  90.00 % 100.00 %        -",
        "stand_alone        -   5.00 %        -        -",
    ]
    assert format_table({}) == "model"
