"""Embeddings of samples and their measures: missing plates, unreadable images, plates alone."""

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.core.sample import Sample
from app.data.crops import ImageReader
from app.data.readers.reader import Direction
from app.evaluation.embed import DualEmbeddings
from app.evaluation.ids import pair_ids
from app.evaluation.measure import UnreadableQueriesError, fused_rows, measure, measure_all
from app.evaluation.open_set import run_trials
from app.evaluation.ranking import NoValidQueryError, evaluate_ranking
from app.settings.load import load_settings
from app.tasks import make_task


def unit(rows):
    rows = np.asarray(rows, np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length == 0, 1, length)


def made(count=12, with_plate=None, fusion="concat", seed=0):
    """Random embeddings of six vehicles, two images each in two cameras."""
    rng = np.random.default_rng(seed)
    samples = [Sample(Path(f"{i}.jpg"), pid=i // 2, camid=i % 2) for i in range(count)]
    has = np.array([i % 3 != 0 for i in range(count)]) if with_plate is None else np.full(count, with_plate)
    plate = unit(rng.standard_normal((count, 5))) * has[:, None]
    return DualEmbeddings(samples, unit(rng.standard_normal((count, 5))), plate.astype(np.float32), has, fusion)


def all_against_all(found):
    return Direction("all", tuple(found.samples), tuple(found.samples))


def expected_map(found, dist, chosen):
    pids, camids = (np.array([getattr(found.samples[i], key) for i in chosen]) for key in ("pid", "camid"))
    return evaluate_ranking(dist=dist, q_pids=pids, q_camids=camids, g_pids=pids, g_camids=camids).mAP


def test_fused_similarities_fall_back_to_the_vehicles_where_a_plate_is_missing():
    """Pair by pair: the mean of both cosines where both have a plate, else the vehicles' cosine alone."""
    found = made()
    dist = fused_rows(found, found.samples, found.samples)(slice(0, 12))
    order = np.empty((12, 12))
    for i in range(12):
        for j in range(12):
            vehicle = float(found.vehicle[i] @ found.vehicle[j])
            plate = float(found.plate[i] @ found.plate[j])
            order[i, j] = 1 - ((vehicle + plate) / 2 if found.has_plate[i] and found.has_plate[j] else vehicle)
    np.testing.assert_allclose(dist, order, rtol=0, atol=1e-6)


def test_added_embeddings_leave_the_vehicle_where_a_plate_is_missing():
    found = made(fusion="add")
    joined = unit(found.vehicle + found.plate)
    np.testing.assert_allclose(
        fused_rows(found, found.samples, found.samples)(slice(3, 7)), 1 - joined[3:7] @ joined.T, atol=1e-6
    )


@pytest.mark.parametrize("fusion", ["concat", "add"])
def test_without_any_plate_the_fused_figures_are_the_vehicles(fusion):
    found = made(with_plate=False, fusion=fusion)
    row = measure(found, all_against_all(found), "fused", rerank=False)
    assert row["mAP"] == row["fused_mAP"] == pytest.approx(row["vehicle_mAP"], abs=1e-12)
    assert "plate_mAP" not in row
    assert measure(found, all_against_all(found), "plate", rerank=False) is None


def test_the_plates_figures_rank_images_with_a_plate_only():
    found = made()
    row = measure(found, all_against_all(found), "fused", rerank=False)
    chosen = np.flatnonzero(found.has_plate)
    plates = found.plate[chosen].astype(float)
    assert row["plate_mAP"] == pytest.approx(expected_map(found, 1 - plates @ plates.T, chosen))
    vehicles = found.vehicle.astype(float)
    assert row["vehicle_mAP"] == pytest.approx(expected_map(found, 1 - vehicles @ vehicles.T, np.arange(12)))
    alone = measure(found, all_against_all(found), "plate", rerank=False)
    assert alone["mAP"] == row["plate_mAP"]
    assert alone["queries"] + alone["skipped"] == len(chosen)


def test_without_a_plate_network_the_vehicle_gives_the_headline():
    found = replace(made(), plate=None, _row={})
    row = measure(found, all_against_all(found), "fused", rerank=False)
    assert row["mAP"] == row["vehicle_mAP"]
    assert not {"fused_mAP", "plate_mAP"} & row.keys()


def test_unreadable_queries_count_as_skipped():
    found = made()
    lost = Sample(Path("lost.jpg"), pid=0, camid=1)
    direction = Direction("all", (*found.samples, lost), (*found.samples, lost))
    with_lost = measure(found, direction, "fused", rerank=False)
    without = measure(found, all_against_all(found), "fused", rerank=False)
    assert with_lost["skipped"] == without["skipped"] + 1
    assert {**with_lost, "skipped": 0} == {**without, "skipped": 0}


@pytest.mark.parametrize("headline", ["vehicle", "plate", "fused"])
def test_open_set_measures_are_those_of_the_headline(headline):
    """Against trials on a whole matrix of cosines, and the threshold of its own strangers."""
    count = 480  # of which 160 are of vehicles with a plate in both cameras: 1 % of them is one
    found = made(count)
    rows = np.flatnonzero(found.has_plate) if headline == "plate" else np.arange(count)
    if headline == "fused":
        cosines = 1 - fused_rows(found, found.samples, found.samples)(slice(0, count))
    else:
        vectors = getattr(found, headline)[rows]
        cosines = vectors @ vectors.T
    chosen = [found.samples[row] for row in rows]
    trials = run_trials(cosines.__getitem__, cosines.__getitem__, pair_ids(chosen, chosen))
    direction = all_against_all(found)
    row = measure_all(found, [direction], headline, rerank=False, calibration=[direction])["all"]
    expected = trials.figures(trials.threshold(0.01))
    # 1 - (1 - cosine) in float32 may swap two scores that are equal to 1e-7: a query or two of at least 160.
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=2 / 160)
    assert set(expected) == {"right_at_1", "right_at_5", "f1", "tnr", "pr_auc"}
    assert not set(expected) & set(measure_all(found, [direction], headline, rerank=False)["all"])


def test_fewer_than_a_hundred_strangers_calibrate_nothing():
    found = made(90)
    direction = all_against_all(found)
    row = measure_all(found, [direction], "vehicle", rerank=False, calibration=[direction])["all"]
    assert {"right_at_1", "pr_auc"} <= set(row)
    assert not {"f1", "tnr"} & set(row)


def lost(number, pid, camid):
    return Sample(Path(f"lost{number}.jpg"), pid=pid, camid=camid)


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        # Four queries of vehicle 0, as seen by another camera than the readable sample 0, all unreadable.
        (
            lambda s: Direction("all", tuple(lost(i, 0, 5) for i in range(4)), tuple(s)),
            r"none of the 4 queries can be read: lost0.jpg, lost1.jpg, lost2.jpg, \.\.\.$",
        ),
        (lambda s: Direction("all", (s[0],), (lost(0, 0, 5),)), "none of the 1 gallery images can be read: lost0.jpg$"),
        # The query that is read has no match; the one with a match is not read.
        (
            lambda s: Direction("all", (s[0], lost(0, 1, 9)), (s[2], s[3])),
            "no query that can be read has .* 1 of 4 images cannot be: lost0.jpg$",
        ),
    ],
)
def test_unreadable_images_are_named_as_the_reason_for_no_measures(direction, message):
    found = made()
    with pytest.raises(UnreadableQueriesError, match=message):
        measure_all(found, [direction(found.samples)], "fused", rerank=False)


def test_where_reading_them_would_not_help_unreadable_images_are_no_reason():
    found = made()
    for queries, gallery in ([(lost(0, 77, 0),), found.samples], [found.samples[:1], found.samples[:1]]):
        with pytest.raises(NoValidQueryError, match=r"^no query has a true match in another camera$"):
            measure_all(found, [Direction("all", tuple(queries), tuple(gallery))], "fused", rerank=False)


def test_no_query_with_a_match_is_none():
    found = made()
    first = found.samples[0]
    assert measure(found, Direction("own", (first,), (first,)), "fused", rerank=False) is None
    assert measure(found, Direction("nothing", (), ()), "fused", rerank=False) is None


def test_reranked_figures_stand_beside_the_headline_and_never_in_it():
    found = made()
    plain = measure(found, all_against_all(found), "fused", rerank=False)
    row = measure(found, all_against_all(found), "fused", rerank=True)
    assert {key: row[key] for key in plain} == plain
    assert {"rerank_mAP", "rerank_rank1"} == row.keys() - plain.keys()


@pytest.fixture(scope="module")
def dual():
    words = (
        "model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32 model.plate.backbone=test_efficientnet "
    )
    words += "model.plate.image_size=32 model.embedding_dim=8 device=cpu train.precision=float32"
    task = make_task(load_settings(words))
    return task, task.build(3, 0)


@pytest.fixture
def samples(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    found = []
    for i in range(5):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        plate = tmp_path / f"{(i + 1) % 5}.png" if i != 2 else None
        found.append(Sample(path, i, 0, plate_path=plate))
    return found


def run(dual, samples, batch_size, pictures=None):
    task, network = dual
    settings = replace(task.settings, evaluation=replace(task.settings.evaluation, batch_size=batch_size))
    own = copy(task)
    own.settings, own.image_reader = settings, pictures or ImageReader((32, 32), (32, 32), 10)
    return own._embed(network, samples, torch.device("cpu"))


def test_the_batch_size_and_the_company_do_not_matter(dual, samples):
    whole, small = run(dual, samples, 64), run(dual, samples, 2)
    # float32 sums of a convolution in another order.
    np.testing.assert_allclose(whole.vehicle, small.vehicle, rtol=0, atol=1e-5)
    np.testing.assert_allclose(whole.plate, small.plate, rtol=0, atol=1e-5)
    assert whole.has_plate.tolist() == small.has_plate.tolist() == [True, True, False, True, True]
    assert not whole.plate[2].any()
    np.testing.assert_allclose(np.linalg.norm(whole.vehicle, axis=1), 1, atol=1e-5)
    # Nobody is mistaken for another: each row is the sample's own.
    alone = run(dual, [samples[3]], 1)
    np.testing.assert_allclose(whole.vehicle[whole.rows([samples[3]])], alone.vehicle, rtol=0, atol=1e-5)


def test_unreadable_images_are_left_out_and_the_mode_is_restored(dual, samples, tmp_path):
    lost = Sample(tmp_path / "lost.png", 9, 0)
    pictures = ImageReader((32, 32), (32, 32), 10)
    dual[1].train()
    found = run(dual, [lost, *samples[:2]], 1, pictures)
    assert dual[1].training
    assert found.samples == samples[:2]
    assert lost not in found
    assert list(pictures.bad) == [str(lost.path)]
    with pytest.raises(ValueError, match=r"no image can be read; the first of 1: .*lost\.png"):
        run(dual, [lost], 1)
