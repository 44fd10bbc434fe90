"""The benches of the packaged plate reader: its files made from a run, and its figures."""

import json

import numpy as np
import pytest
from PIL import Image

from app.core.arrays import float_arrays
from app.core.packaged_file import mark_of
from app.core.run_folder import RunFolder
from app.evaluation.plate_texts import PlateReading
from app.evaluation.reading_errors import ReadingErrors
from app.settings.checks import SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.checkpoint import save_checkpoint
from app.training.packaged_reader import ERRORS, READER
from scripts.bench import package_reader, packaged_plates
from scripts.bench.errors import BenchError


@pytest.fixture
def run_dir(tmp_path):
    """An untrained network and two plates to test."""
    plates = tmp_path / "plates"
    plates.mkdir()
    rows = ["path,pid,camid,split,plate_text,plate_left,plate_top,plate_width,plate_height"]
    for pid in range(2):
        pixels = np.random.default_rng(pid).integers(0, 256, (40, 90, 3), np.uint8)
        Image.fromarray(pixels).save(plates / f"{pid}.png")
        rows.append(f"{pid}.png,{pid},0,{('test_query', 'test_gallery')[pid]},AB1{pid},20,10,50,20")
    (plates / "manifest.csv").write_text("\n".join(rows) + "\n")
    settings = load_settings(
        "model.start= "
        f"experiment=plates_countries data=manifest data.root={plates} data.made_plates.share=0 device=cpu "
        "model.backbone=test_resnet model.height=32 model.width=64 model.dim=16 model.layers=1"
    )
    task = make_task(settings)
    save_checkpoint(RunFolder(tmp_path / "run"), "central", float_arrays(task.build(1, 0)), settings, task)
    return tmp_path / "run"


def test_files_are_made_from_a_run_with_the_marks_that_are_printed(run_dir, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(package_reader, "MOST_DIFFERENT", 1.0)  # an untrained network hesitates everywhere
    package_reader.main([f"run={run_dir}", f"out={out}", "rendered=2"])
    told = json.loads(capsys.readouterr().out)
    assert told["marks"] == {name: mark_of(out / name)._asdict() for name in (READER, ERRORS)}
    assert told["plates"] == 1 + 6 * 2  # a query, and two of each region
    assert ReadingErrors.model_validate_json((out / ERRORS).read_bytes()).plates == 13


def test_nothing_is_written_if_half_precision_reads_otherwise_or_the_file_is_large(run_dir, tmp_path, monkeypatch):
    out, calls = tmp_path / "out", []

    def read(run, plates):
        del run
        calls.append(0)
        return [PlateReading(f"A{len(calls)}", (0.9, 0.9)) for _ in plates]

    monkeypatch.setattr(package_reader, "_read", read)
    with pytest.raises(BenchError, match=r"half precision reads 100\.00 % of the plates otherwise"):
        package_reader.main([f"run={run_dir}", f"out={out}", "rendered=0"])
    monkeypatch.setattr(package_reader, "MOST_BYTES", 10)
    with pytest.raises(BenchError, match="more than 10"):
        package_reader.main([f"run={run_dir}", f"out={out}", "rendered=0"])
    assert not out.exists()
    with pytest.raises(SettingsError, match=r"out=\.\.\. is missing"):
        package_reader.main([f"run={run_dir}"])


@pytest.mark.slow
def test_figures_are_told_by_region_and_condition(capsys):
    packaged_plates.main(["rendered=1"])
    *lines, last = capsys.readouterr().out.splitlines()
    rows = json.loads(last)
    assert [line.split("  ")[0] for line in lines] == list(rows)
    assert {name.split(", ")[1] for name in rows} == {"level", "tilted", "night", "two lines"}
    assert "rendered us, two lines" not in rows
    assert all(row["plates"] == 1 and 0 <= row["formats_accuracy"] <= 1 for row in rows.values())
