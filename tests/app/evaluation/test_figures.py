import numpy as np
import pytest
from PIL import Image

from app.core.sample import Box, Sample
from app.evaluation.figures import curves_picture, nearest_in_gallery, pick_queries, ranked_list_picture

GREEN, RED = (26, 150, 65), (215, 25, 28)
IDS = {"q_pids": [1, 2, 3, 1], "q_camids": [0, 0, 0, 1], "g_pids": [1, 1, 2], "g_camids": [0, 2, 0]}


def has_colour(pixels, colour):
    return (np.abs(pixels.astype(int) - colour).max(axis=-1) < 3).any()


def test_only_queries_with_a_match_in_another_camera_are_picked():
    assert pick_queries(**IDS, count=10, seed=0) == [0, 3]
    assert pick_queries(**IDS, count=0, seed=0) == []


def test_the_same_seed_picks_the_same_queries():
    ids = {"q_pids": range(50), "q_camids": [0] * 50, "g_pids": range(50), "g_camids": [1] * 50}
    picked = pick_queries(**ids, count=5, seed=3)
    assert picked == pick_queries(**ids, count=5, seed=3) == sorted(set(picked))
    assert picked != pick_queries(**ids, count=5, seed=4)


def test_nearest_leave_out_the_own_camera_and_put_tied_non_matches_first():
    nearest, matches = nearest_in_gallery(
        [0.0, 0.3, 0.3, 0.1, 0.9], pid=1, camid=0, g_pids=[1, 1, 2, 3, 1], g_camids=[0, 1, 1, 0, 2], count=3
    )
    assert nearest.tolist() == [3, 2, 1]
    assert matches.tolist() == [False, False, True]


def test_other_vehicles_of_the_querys_sequence_are_left_out():
    given = {"pid": 1, "camid": 0, "g_pids": [1, 2, 3, 4], "g_camids": [1, 1, 1, 1], "g_sequences": [5, 5, -1, 6]}
    assert nearest_in_gallery([0.9, 0.1, 0.2, 0.3], sequence=5, **given)[0].tolist() == [2, 3, 0]
    assert nearest_in_gallery([0.9, 0.1, 0.2, 0.3], sequence=-1, **given)[0].tolist() == [1, 2, 3, 0]


@pytest.fixture
def blue_with_white_car(tmp_path):
    """An image that is blue except for the vehicle's box, which also reaches over the right edge."""
    path = tmp_path / "car.png"
    pixels = np.full((40, 60, 3), (0, 0, 255), np.uint8)
    pixels[10:30, 30:] = 255
    Image.fromarray(pixels).save(path)
    return path


def test_ranked_list_is_framed_by_match_and_cropped_to_the_vehicle(tmp_path, blue_with_white_car):
    boxed = Sample(blue_with_white_car, pid=1, camid=0, vehicle_box=Box(30, 10, 40, 20))
    whole = Sample(blue_with_white_car, pid=1, camid=0)

    def draw(sample, *hits):
        path = tmp_path / "new" / "ranked.png"
        ranked_list_picture([boxed], [[sample] * len(hits)], [list(hits)], path, caption="A caption")
        return np.asarray(Image.open(path).convert("RGB"))

    only_hits, only_misses = draw(boxed, True, True), draw(boxed, False, False)
    assert has_colour(only_hits, GREEN)
    assert not has_colour(only_hits, RED)
    assert has_colour(only_misses, RED)
    assert not has_colour(only_misses, GREEN)
    assert not has_colour(only_hits, (0, 0, 255))
    assert has_colour(draw(whole, True), (0, 0, 255))


def test_lists_of_different_lengths_are_rendered_and_a_mismatch_is_refused(tmp_path, blue_with_white_car):
    sample = Sample(blue_with_white_car, pid=1, camid=0)
    path = tmp_path / "ranked.png"
    ranked_list_picture([sample, sample], [[sample] * 2, []], [[True, False], []], path, caption="Short lists")
    assert path.is_file()
    with pytest.raises(ValueError, match="2 ranked samples but 1 matches"):
        ranked_list_picture([sample], [[sample] * 2], [[True]], path, caption="")
    with pytest.raises(ValueError, match="no query"):
        ranked_list_picture([], [], [], path, caption="")


def test_curves_of_many_kinds_are_rendered(tmp_path):
    path = tmp_path / "new" / "curves.png"
    history = {f"client {i}": [(r, r / 10 * i) for r in range(i * 9)] for i in range(8)}
    history["global"] = [(0, 0.1), (1, float("nan")), (2, 0.3)]
    curves_picture(history, path, x_label="round", y_label="mAP", title="All clients")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
    with pytest.raises(ValueError, match="no curve"):
        curves_picture({}, path, x_label="", y_label="", title="")
