"""Patches of aligned photographs as further identities."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.core.sample import Box, Sample
from app.data.background import aligned_pairs, background
from app.data.dataset import Source
from app.data.readers.reader import both_ways
from app.settings.checks import SettingsError
from app.settings.load import load_settings

SETTINGS = load_settings("data=manifest data.root=x data.background=6").data
SIZE = (320, 200)
VEHICLES = {0: (Box(20, 30, 60, 40), Box(200, 100, 80, 60)), 1: (Box(100, 90, 50, 50),), 2: (Box(5, 5, 300, 190),)}


@pytest.fixture
def samples(tmp_path):
    """Two photographs with room beside their vehicles, and one that a vehicle fills."""
    found, rng = [], np.random.default_rng(0)
    for place, boxes in VEHICLES.items():
        for camid, modality in enumerate(("visible", "infrared")):
            path = tmp_path / f"{place}-{modality}.png"
            Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)).save(path)
            found += [
                Sample(path, 10 * place + i, camid, vehicle_box=box, modality=modality, sequence=f"s{place}")
                for i, box in enumerate(boxes)
            ]
    return found


def cells(box):
    """Whole pixels of a box, counted one by one."""
    mask = np.zeros(SIZE[::-1], bool)
    mask[round(box.top) : round(box.top + box.height), round(box.left) : round(box.left + box.width)] = True
    return mask


def test_a_patch_is_one_identity_in_both_photographs_away_from_vehicles_and_other_patches(samples):
    patches = background(samples, samples, 6)
    assert {s.pid for s in patches}.isdisjoint({s.pid for s in samples})
    by_pid = defaultdict(list)
    for each in patches:
        by_pid[each.pid].append(each)
    for visible, infrared in by_pid.values():
        assert (visible.modality, infrared.modality) == ("visible", "infrared")
        assert visible.vehicle_box == infrared.vehicle_box
        assert visible.path.name.replace("visible", "infrared") == infrared.path.name
        assert visible.sequence == infrared.sequence
        left, top, width, height = visible.vehicle_box
        assert min(left, top) >= 0
        assert left + width <= SIZE[0] + 1e-9
        assert top + height <= SIZE[1] + 1e-9
    placed = defaultdict(list)
    for visible, _ in by_pid.values():
        others = [*VEHICLES[int(visible.path.name[0])], *placed[visible.path]]
        for other in others:
            both = (cells(visible.vehicle_box) & cells(other)).sum()
            smaller = min(cells(visible.vehicle_box).sum(), cells(other).sum())
            assert both <= 0.2 * smaller + 2 * max(SIZE)  # a row and a column of pixels by rounding
        placed[visible.path].append(visible.vehicle_box)
    counts = Counter(path.name[0] for path in placed for _ in placed[path])
    assert min(counts["0"], counts["1"]) > 0
    assert max(counts["0"], counts["1"]) <= 6


def test_patches_do_not_depend_on_order_or_on_who_else_is_there(samples):
    def boxes(patches):
        return sorted((s.path.name, s.vehicle_box) for s in patches)

    patches = background(samples, samples, 4)
    assert boxes(background(samples[::-1], samples, 4)) == boxes(patches)
    own = [s for s in samples if s.path.name.startswith("1")]
    assert boxes(background(own, samples, 4)) == [each for each in boxes(patches) if each[0].startswith("1")]
    assert background(samples, samples, 0) == []


def test_only_photographs_that_are_surely_aligned_give_patches(samples):
    visible = [s for s in samples if s.modality == "visible"]
    assert aligned_pairs(visible) == [] == background(visible, visible, 4)
    moved = [replace(s, vehicle_box=Box(1, 1, 9, 9)) if s.modality == "infrared" else s for s in samples]
    assert aligned_pairs(moved) == []
    assert aligned_pairs([replace(s, vehicle_box=None) for s in samples]) == []
    assert len(aligned_pairs(samples)) == 3  # photographs, not vehicles
    first = samples[0].path
    Image.new("RGB", (50, 50)).save(first)  # another size than its partner
    assert {s.path.name[0] for s in background(samples, samples, 4)} == {"1"}
    samples[2].path.write_bytes(b"no image")
    first.unlink()
    assert {s.path.name[0] for s in background(samples, samples, 4)} == {"1"}


def test_a_photograph_is_in_one_pair(samples):
    """A fixed thermal camera's image beside two visible ones would give one thing as two identities."""
    twice = [*samples, *(replace(s, path=s.path.with_name("9.png"), pid=99) for s in samples if s.pid == 10)]
    again = [replace(s, pid=99) for s in samples if s.pid == 10 and s.modality == "infrared"]
    visible = [s for s in twice if s.modality == "visible"]
    pairs = aligned_pairs([*samples, *visible, *again])
    assert len(pairs) == len({first.path for first, _ in pairs}) == len({second.path for _, second in pairs}) == 3


class OneReader:
    def __init__(self, samples, tested=()):
        self.samples = samples
        self.tested = list(tested)

    def train(self):
        return self.samples

    def evaluation(self, split):
        samples = self.samples if split in ("all", "train") else self.tested
        return both_ways(samples, samples)


def test_held_out_vehicles_are_no_patches_and_without_the_setting_nothing_is_added(samples):
    source = Source(OneReader(samples), SETTINGS, seed=0)
    mine = [s for s in samples if s.pid == 0]  # another vehicle of its photograph is held out
    added = source.with_background(mine)[len(mine) :]
    held = VEHICLES[0][1]
    assert added
    assert all((cells(s.vehicle_box) & cells(held)).sum() <= 0.2 * cells(held).sum() + 320 for s in added)
    assert source.with_background(mine)[: len(mine)] == mine
    source.require_aligned()
    off = Source(OneReader(samples), replace(SETTINGS, background=0), seed=0)
    assert off.with_background(mine) is mine
    folds = Source(OneReader(samples), replace(SETTINGS, folds=2), seed=0)
    assert {s.pid for s in folds.with_background(mine)} == {s.pid for s in source.with_background(mine)}


def test_vehicles_of_the_measured_split_are_no_patches(samples):
    tested = [s for s in samples if s.pid == 1]
    mine = [s for s in samples if s.pid == 0]
    source = Source(OneReader(mine, tested), replace(SETTINGS, background=20), seed=0)
    added = source.with_background(mine)[len(mine) :]
    held = VEHICLES[0][1]
    assert added
    assert all((cells(s.vehicle_box) & cells(held)).sum() <= 0.2 * cells(held).sum() + 320 for s in added)


def test_a_client_without_aligned_photographs_says_so_and_trains(samples, caplog):
    visible = [s for s in samples if s.modality == "visible"]
    assert Source(OneReader(samples), SETTINGS, seed=0).with_background(visible) == visible
    assert "none of the photographs here are aligned" in caplog.text


def test_patches_of_a_set_without_aligned_photographs_and_beside_equalisation_are_refused(tmp_path):
    lone = Source(OneReader([Sample(tmp_path / "a.png", 0, 0)]), SETTINGS, seed=0)
    with pytest.raises(SettingsError, match=r"data\.background=6: manifest has no vehicle at the same box"):
        lone.require_aligned()
    Source(OneReader([]), replace(SETTINGS, background=0), seed=0).require_aligned()
    with pytest.raises(SettingsError, match=r"data\.background=2 and data\.equalise"):
        load_settings("data=manifest data.root=x data.background=2 data.equalise=median")
