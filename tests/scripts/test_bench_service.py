"""Bench of the service: queries of guards, figures of their times, and a small run of it."""

import json
import threading
import time

import pytest

from scripts.bench import service

pytestmark = pytest.mark.slow


def test_guards_ask_at_once_and_again_until_the_time_is_over():
    busy, most, lock = [0], [0], threading.Lock()

    def look(number):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.05)
        with lock:
            busy[0] -= 1
        return number != 2, 0.05

    answers = service.crowd(look, 4, 0.5, 0.0)
    assert most[0] == 4
    assert 8 <= len(answers) <= 44  # ten each, fewer on a busy machine
    assert 0 < sum(not good for good, _ in answers) <= 11


def test_guards_pause():
    answers = service.crowd(lambda _: (True, 0.0), 3, 0.4, 0.2)
    assert 3 <= len(answers) <= 3 * 4  # each pause is at least half of 0.2 s


def test_times_follow_their_definition():
    """A hundred times of 1, 2, ..., 100 s; the quantile lies between the 95th and the 96th."""
    told = service.load_figures([(second != 7, float(second)) for second in range(1, 101)], 10.0, 50.0)
    assert told == {
        "requests": 100,
        "errors": 1,
        "per_second": 2.0,
        "median_s": 50.5,
        "p95_s": 95.05,
        "ratio": pytest.approx(9.5, abs=0.01),
    }


@pytest.mark.slow
def test_a_small_service_is_measured(run_folder, onnx_path, capsys):
    words = ["vehicles=5", "guards=2", "seconds=0.5", "pause=0", "width=64"]
    service.main([f"run={run_folder}", f"onnx={onnx_path}", *words])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    vehicle = told["network"]["vehicle"]
    assert (vehicle["backbone"], vehicle["image_size"], told["vehicles"]) == ("test_efficientnet", 32, 5)
    assert told["onnx"] is told["plates"] is True
    (load,) = told["loads"]
    assert load["errors"] == 0
    assert load["requests"] >= 2
    assert 0 < told["single_s"] <= told["single_slowest_s"]
    assert load["ratio"] == pytest.approx(load["p95_s"] / told["single_s"], rel=0.2)  # figures are rounded
