from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.sample import Sample
from app.data.holdout import holdout


def make(pids):
    return [Sample(Path(f"{place}.jpg"), pid, 0) for place, pid in enumerate(pids)]


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60), st.floats(0, 0.99), st.integers(0, 9))
def test_whole_vehicles_are_held_out_and_nothing_is_lost(pids, share, seed):
    vehicles = len(set(pids))
    if vehicles < 2:
        return
    samples = make(pids)
    kept, held = holdout(samples, share, seed)
    kept_pids, held_pids = {s.pid for s in kept}, {s.pid for s in held}
    assert not kept_pids & held_pids
    assert kept == [s for s in samples if s.pid in kept_pids]
    assert held == [s for s in samples if s.pid in held_pids]
    assert len(kept) + len(held) == len(samples)
    assert abs(len(held_pids) - share * vehicles) <= 1
    assert kept_pids
    assert bool(held_pids) == (share > 0)


def test_the_seed_and_not_the_order_decides():
    samples = make([*range(30), *range(30)])
    held = {s.pid for s in holdout(samples, 0.3, 5)[1]}
    assert len(held) == 9
    assert {s.pid for s in holdout(samples[::-1], 0.3, 5)[1]} == held
    assert {s.pid for s in holdout(samples, 0.3, 6)[1]} != held


def test_faults():
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="share"):
            holdout(make([1, 2]), share, 0)
    with pytest.raises(ValueError, match="1 vehicles"):
        holdout(make([1, 1]), 0.5, 0)
    assert holdout(make([1, 1]), 0, 0) == (make([1, 1]), [])
