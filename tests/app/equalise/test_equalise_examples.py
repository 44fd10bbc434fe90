"""Counts and pairs of images for the report of an equalisation."""

from collections import Counter

import numpy as np
from PIL import Image

from app.core.sample import Box, Sample
from app.equalise.report_examples import enhanced_pairs, suspect_pairs, thumbnail, vehicle_counts


def test_modalities_are_counted_apart(equalise_record, equalise_samples):
    night = [*equalise_samples[:-1], Sample(equalise_samples[-1].path, 7, 1, modality="infrared")]
    counts = vehicle_counts(equalise_record, night)
    assert counts.before.tolist() == [4, 2, 1, 1]
    assert counts.own.tolist() == [2, 2, 1, 1]


def test_counts_are_those_of_plain_loops(equalise_record, equalise_samples):
    counts = vehicle_counts(equalise_record, equalise_samples)
    before = Counter(sample.pid for sample in equalise_samples)
    order = sorted(before, key=lambda pid: -before[pid])
    out = Counter(equalise_samples[place].pid for place in equalise_record["left_out"])
    made = Counter(equalise_samples[row["place"]].pid for row in equalise_record["kept"])
    assert counts.before.tolist() == [before[pid] for pid in order] == [5, 2, 1]
    assert counts.out.tolist() == [out[pid] for pid in order]
    assert counts.enhanced.tolist() == [made[pid] for pid in order]
    assert counts.after.tolist() == [before[pid] - out[pid] + made[pid] for pid in order] == [3, 3, 3]


def test_examples_are_spread_over_the_cosines(equalise_samples, equalise_files):
    rows = [{"place": 0, "cosine": i / 10, "file": f"{i}.jpg", "plate_file": None} for i in (9, 0, 4, 2, 6, 8, 1, 3)]
    assert [pair.cosine for pair in enhanced_pairs(rows, equalise_samples, equalise_files, 3)] == [0.0, 0.4, 0.9]
    assert len(enhanced_pairs(rows, equalise_samples, equalise_files, 20)) == 8
    assert enhanced_pairs([], equalise_samples, equalise_files, 3) == []


def test_suspects_of_equal_gap_stand_in_their_order(equalise_record, equalise_samples):
    rows = [{"place": place, "cosine": 0.2, "gap": 0.4, "nearer": 0} for place in (6, 2, 3)]
    assert [pair.place for pair in suspect_pairs({**equalise_record, "suspects": rows}, equalise_samples)] == [2, 3, 6]


def test_thumbnails_show_the_vehicle_alone(tmp_path):
    pixels = np.full((60, 200, 3), (0, 0, 255), np.uint8)
    pixels[10:50, 50:150] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    found = thumbnail(Sample(tmp_path / "wide.png", 1, 0, vehicle_box=Box(50, 10, 100, 40)), 50)
    assert found.size == (50, 20)
    assert np.asarray(found).min() == 255
    assert thumbnail(Sample(tmp_path / "wide.png", 1, 0, vehicle_box=Box(500, 10, 100, 40)), 50) is None


def test_suspects_without_another_vehicle_stand_last(equalise_record, equalise_samples):
    """However large a gap they have; the farthest from their own vehicle first."""
    rows = [
        {"place": 0, "cosine": 0.3, "gap": 0.9, "nearer": None},
        {"place": 1, "cosine": 0.9, "gap": 0.2, "nearer": 2},
        {"place": 3, "cosine": 0.1, "gap": None, "nearer": None},
        {"place": 5, "cosine": 0.8, "gap": 0.3, "nearer": 2},
    ]
    pairs = suspect_pairs({**equalise_record, "suspects": rows}, equalise_samples)
    assert [pair.place for pair in pairs] == [5, 1, 3, 0]
