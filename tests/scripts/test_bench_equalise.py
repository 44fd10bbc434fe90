"""Equalisation bench: what is kept out, which labels are wrong, and a run from end to end."""

import json
from collections import Counter
from pathlib import Path

import pytest

from app.core.sample import Sample
from app.data.dataset import open_source
from app.settings.load import SettingsError
from scripts.bench import equalise
from scripts.bench.equalise import SPLITS, settings_of, with_wrong_labels

pytestmark = pytest.mark.slow

TINY = [
    "data.synthetic.sites=2",
    "data.synthetic.train_vehicles_per_site=4",
    "data.synthetic.train_pictures_max=8",
    "data.synthetic.test_vehicles_per_site=2",
    "data.synthetic.val_vehicles_per_site=1",
    "data.synthetic.image_size=64",
    "train.epochs=1",
    "train.pids_per_batch=4",
    "data.equalise.suspect_margin=0.01",
]


def test_synthetic_images_kept_out_are_one_a_camera(tmp_path):
    settings = settings_of("synthetic", "off", 0, [*TINY, f"data.root={tmp_path}"])
    source = open_source(settings.data, 0)
    train, out = SPLITS["synthetic"](source, 0)
    assert set(train) | set(out.query) == set(source.train())
    assert not set(train) & set(out.query)
    cameras = {}
    for sample in out.query:
        cameras.setdefault(sample.pid, []).append(sample.camid % 4)
    assert all(sorted(own) == [0, 1, 2, 3] for own in cameras.values())
    assert set(cameras) == {sample.pid for sample in train}


def test_half_of_the_vehicles_of_two_cameras_lose_an_image():
    class Set:
        def train(self):
            return [Sample(Path(f"{pid}-{cam}"), pid, cam) for pid in range(10) for cam in range(2)]

    train, out = SPLITS["two_cam"](Set(), 3)
    counts = Counter(sample.pid for sample in train)
    assert sorted(counts.values()) == [1] * 5 + [2] * 5
    assert {sample.pid for sample in out.query} == {pid for pid, count in counts.items() if count == 1}
    assert out.gallery == tuple(train)
    assert SPLITS["two_cam"](Set(), 4)[1].query != out.query


def test_wrong_labels_are_of_the_site_and_leave_no_vehicle_empty():
    samples = [Sample(Path(str(i)), i // 5, 0, site="a" if i < 50 else "b") for i in range(100)]
    samples.append(Sample(Path("alone"), 99, 0, site="a"))
    changed, places = with_wrong_labels(samples, 0.3, seed=1)
    assert len(places) == 30
    for place, (before, after) in enumerate(zip(samples, changed, strict=True)):
        assert (before.pid != after.pid) == (place in places)
        assert {s.site for s in samples if s.pid == after.pid} == {before.site}
    assert {s.pid for s in changed} == {s.pid for s in samples}
    assert changed[-1].pid == 99
    assert with_wrong_labels(samples, 0.3, seed=1)[1] == places


def test_a_run_of_every_variant(tmp_path, capsys):
    words = [*TINY, f"data.root={tmp_path}", f"data.equalise.folder={tmp_path / 'kept'}", "seeds=0", "jobs=1"]
    equalise.main(["variants=off,down,fill,both,online,leave_out", "flip=0.1", *words])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("variant") for line in lines] == ["off", "down", "fill", "both", "online", "leave_out", None]
    for line in lines[:-1]:
        assert all(0 < line[name] <= 1 for name in ("test", "tail", "head"))
        assert ("recall" in line) == (line["variant"] in ("fill", "both", "leave_out"))
    assert lines[-1]["means"]["fill"]["tail"] == pytest.approx(lines[2]["tail"], abs=1e-4)  # as printed
    with pytest.raises(SettingsError, match="unknown variant 'on'"):
        equalise.main(["variants=on"])
    with pytest.raises(SettingsError, match="set must be one of synthetic, two_cam"):
        equalise.main(["set=veri"])
