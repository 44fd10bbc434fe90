"""The set as a whole: its plan, its files and its settings."""

import csv
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.synthetic import SyntheticSettings, dataset, folder_name, generate, rendered_images
from app.synthetic.dataset import MANIFEST_COLUMNS
from app.synthetic.site import draw_site, plan, train_images

SMALL = SyntheticSettings(
    sites=2,
    cameras_per_site=3,
    infrared_cameras_per_site=1,
    train_vehicles_per_site=2,
    val_vehicles_per_site=1,
    test_vehicles_per_site=2,
    train_pictures_max=4,
    train_pictures_min=2,
    eval_pictures_per_vehicle=4,
    image_size=64,
)


def read_manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_two_walks_agree_to_the_pixel() -> None:
    for (planned, one), (again, two) in zip(rendered_images(SMALL), rendered_images(SMALL), strict=True):
        assert planned == again
        assert np.array_equal(one.image, two.image)
        assert (one.vehicle_box, one.plate_corners, one.plate_text) == (
            two.vehicle_box,
            two.plate_corners,
            two.plate_text,
        )


@pytest.mark.slow
def test_an_image_does_not_depend_on_how_many_others_are_made() -> None:
    larger = replace(SMALL, sites=3, train_vehicles_per_site=3, test_vehicles_per_site=4, eval_pictures_per_vehicle=7)
    alone = {planned.key: rendered.image for planned, rendered in rendered_images(SMALL) if planned.part != "train"}
    among = {planned.key: rendered.image for planned, rendered in rendered_images(larger)}
    assert alone
    assert all(np.array_equal(image, among[key]) for key, image in alone.items())


def test_another_seed_gives_other_images() -> None:
    (_, one), (_, two) = (next(rendered_images(s)) for s in (SMALL, replace(SMALL, seed=1)))
    assert not np.array_equal(one.image, two.image)


@given(
    cameras=st.integers(2, 6),
    infrared=st.integers(0, 6),
    per_vehicle=st.integers(2, 12),
    vehicles=st.integers(1, 5),
)
@settings(deadline=None, max_examples=40)
def test_every_query_has_a_match_in_another_camera(
    cameras: int, infrared: int, per_vehicle: int, vehicles: int
) -> None:
    chosen = SyntheticSettings(
        sites=2,
        cameras_per_site=cameras,
        infrared_cameras_per_site=min(infrared, cameras),
        train_vehicles_per_site=1,
        val_vehicles_per_site=1,
        test_vehicles_per_site=vehicles,
        eval_pictures_per_vehicle=per_vehicle,
    )
    planned_images = list(plan(chosen))
    for split in ("val", "test"):
        gallery = [s for s in planned_images if s.split == f"{split}_gallery"]
        queries = [s for s in planned_images if s.split == f"{split}_query"]
        assert {q.pid for q in queries} == {g.pid for g in gallery}
        for query in queries:
            assert any(g.pid == query.pid and g.camid != query.camid for g in gallery)
    parts = defaultdict(set)
    for planned in planned_images:
        parts[planned.pid].add((planned.part, planned.site))
        assert planned.camid // cameras == planned.site
    assert all(len(places) == 1 for places in parts.values())
    assert sorted(parts) == list(range(2 * (2 + vehicles)))


def test_training_images_have_a_long_tail() -> None:
    default = SyntheticSettings()
    counts = [train_images(default, rank) for rank in range(default.train_vehicles_per_site)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (24, 3)
    assert np.median(counts) < np.mean(counts) < 0.35 * counts[0]
    planned = Counter(s.pid for s in plan(default) if s.split == "train" and s.site == 0)
    assert [planned[pid] for pid in range(30)] == counts
    cameras = defaultdict(set)
    for planned in plan(default):
        cameras[planned.pid].add(planned.camid)
    assert all(len(seen) > 1 for seen in cameras.values())


@pytest.mark.slow
def test_most_plates_that_face_the_camera_can_be_read_and_the_others_have_no_text() -> None:
    default = SyntheticSettings(
        sites=3, train_vehicles_per_site=0, val_vehicles_per_site=0, test_vehicles_per_site=12, image_size=96
    )
    walk = [rendered for _, rendered in rendered_images(default)]
    facing = [rendered for rendered in walk if rendered.plate_faces]
    share = np.mean([rendered.plate_text is not None for rendered in facing])
    assert 0.62 < share < 0.85  # 70 to 80 % are meant; 216 images leave a standard error of 3 %
    for rendered in walk:
        assert (rendered.plate_text is None) == (rendered.plate_corners is None) == bool(rendered.plate_hidden)
    widths = [r.plate_box.width for r in walk if r.plate_box is not None]
    assert np.median(widths) >= 40 / 256 * default.image_size


def test_residents_of_one_fleet_share_model_and_paint() -> None:
    site = draw_site(SyntheticSettings(), 0)
    residents = [site.vehicle("train", number) for number in range(60)]
    alike = Counter((v.body.name, v.paint) for v in residents)
    assert alike.most_common(1)[0][1] >= 6
    fleet_paints = sum(v.paint in ("white", "black", "grey", "silver") for v in residents)
    assert fleet_paints / len(residents) > 0.6
    assert len({v.plate.text for v in residents}) == len(residents)


def test_the_manifest_says_what_the_images_hold(tmp_path: Path) -> None:
    folder = generate(SMALL, tmp_path)
    assert folder == tmp_path / folder_name(SMALL)
    rows = read_manifest(folder)
    assert tuple(rows[0]) == MANIFEST_COLUMNS
    walk = list(rendered_images(SMALL))
    assert len(rows) == len(walk) == len({row["path"] for row in rows})
    for row, (planned, rendered) in zip(rows, walk, strict=True):
        assert (int(row["pid"]), int(row["camid"]), row["split"]) == (planned.pid, planned.camid, planned.split)
        stored = cv2.imread(str(folder / row["path"]))
        assert stored.shape == (64, 64, 3)
        assert np.abs(stored.astype(int) - rendered.image).mean() < 5  # JPEG at quality 93
        assert row["plate_text"] == (rendered.plate_text or "")
        cells = [row[f"plate_{name}"] for name in ("left", "top", "width", "height", "corners")]
        assert all(cells) if rendered.plate_text else not any(cells)
        if row["plate_corners"]:
            corners = np.array(row["plate_corners"].split(), float).reshape(4, 2)
            left, top = float(row["plate_left"]), float(row["plate_top"])
            assert (left, top) == pytest.approx(corners.min(axis=0).tolist(), abs=0.02)
    assert {row["modality"] for row in rows} == {"visible", "infrared"}
    assert all(row["time"][11:13] in ("20", "21", "22", "23", "00", "01", "02", "03", "04", "05")
               for row in rows if row["modality"] == "infrared")  # fmt: skip


def test_generating_again_leaves_the_folder_alone(tmp_path: Path) -> None:
    folder = generate(SMALL, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert generate(SMALL, tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert folder_name(replace(SMALL, seed=1)) != folder.name


def test_the_loser_of_a_race_throws_its_copy_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = replace(SMALL, sites=1)
    write = dataset._write

    def write_while_another_finishes(chosen: SyntheticSettings, folder: Path) -> None:
        write(chosen, folder)
        write(chosen, tmp_path / folder_name(chosen))

    monkeypatch.setattr(dataset, "_write", write_while_another_finishes)
    folder = generate(alone, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_failed_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(cv2, "imencode", fail)
    with pytest.raises(OSError, match="disk full"):
        generate(SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sites", 0),
        ("cameras_per_site", 0),
        ("cameras_per_site", 1),
        ("infrared_cameras_per_site", 5),
        ("infrared_cameras_per_site", -1),
        ("train_pictures_min", 25),
        ("train_pictures_min", 0),
        ("eval_pictures_per_vehicle", 1),
        ("test_vehicles_per_site", -1),
        ("image_size", 8),
        ("plate_hidden", 1.5),
        ("seed", -1),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(SyntheticSettings(), **{field: value})


def test_the_first_images_come_without_rendering_the_rest() -> None:
    huge = replace(SMALL, sites=1000, train_vehicles_per_site=1000)
    assert len(list(islice(rendered_images(huge), 3))) == 3
