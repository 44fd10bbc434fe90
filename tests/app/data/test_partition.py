from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.sample import Sample
from app.data.partition import KINDS, by_camera, by_identity, by_site, dirichlet, partition, partition_directions, table
from app.data.readers.reader import Direction, each_against_all


def make(*rows):
    """Samples of (pid, camid, site)."""
    return [Sample(Path(f"{place}.jpg"), pid, camid, site=site) for place, (pid, camid, site) in enumerate(rows)]


rows = st.tuples(st.integers(0, 12), st.integers(0, 5), st.sampled_from(["north", "south", "west"]))
samples_of_any_size = st.lists(rows, min_size=1, max_size=60).map(lambda drawn: make(*drawn))


@given(samples_of_any_size, st.sampled_from(KINDS), st.integers(1, 4), st.integers(0, 9))
def test_every_picture_is_in_exactly_one_part_in_its_order(samples, by, num_clients, seed):
    enough = {
        "site": len({s.site for s in samples}) == num_clients,
        "identity": len({s.pid for s in samples}) >= num_clients,
        "camera": len({s.camid for s in samples}) >= num_clients,
        "dirichlet": True,
    }
    if not enough[by]:
        with pytest.raises(ValueError, match="client"):
            partition(samples, by=by, num_clients=num_clients, alpha=0.5, seed=seed)
        return
    parts = partition(samples, by=by, num_clients=num_clients, alpha=0.5, seed=seed)
    assert len(parts) == num_clients
    assert Counter(s for part in parts for s in part) == Counter(samples)
    assert all(part == [s for s in samples if s in set(part)] for part in parts)
    assert by == "dirichlet" or all(parts)
    assert parts == partition(samples, by=by, num_clients=num_clients, alpha=0.5, seed=seed)


@given(samples_of_any_size, st.integers(1, 4), st.integers(0, 9))
def test_by_identity_deals_whole_vehicles_evenly(samples, num_clients, seed):
    if len({s.pid for s in samples}) < num_clients:
        return
    parts = by_identity(samples, num_clients, seed)
    pids = [{s.pid for s in part} for part in parts]
    assert sum(map(len, pids)) == len(set.union(*pids))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= max(Counter(s.pid for s in samples).values())


def test_by_identity_deals_the_vehicle_with_most_pictures_first():
    """6 pictures of one vehicle and 6 of six others: 6 + 6; dealt last, the first would make it 9 + 3."""
    samples = make(*((pid, 0, None) for pid in (0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6)))
    assert [len(part) for part in by_identity(samples, 2, 0)] == [6, 6]


def test_by_identity_depends_on_the_seed_and_not_on_the_order():
    samples = make(*((pid, 0, None) for pid in range(20)))
    assert by_identity(samples, 4, 0) != by_identity(samples, 4, 1)
    backwards = by_identity(samples[::-1], 4, 0)
    assert [set(part) for part in backwards] == [set(part) for part in by_identity(samples, 4, 0)]


def test_by_site_is_sorted_and_needs_sites():
    samples = make((1, 0, "west"), (2, 0, "east"), (1, 1, "west"))
    assert by_site(samples) == [[samples[1]], [samples[0], samples[2]]]
    with pytest.raises(ValueError, match=r"cannot divide by site: 1\.jpg has none"):
        by_site(make((1, 0, "west"), (1, 0, None)))
    with pytest.raises(ValueError, match="from 2 sites, so there cannot be 3 clients"):
        partition(samples, by="site", num_clients=3, alpha=1, seed=0)


def test_by_camera_deals_neighbouring_cameras():
    samples = make(*((1, camid, None) for camid in (7, 0, 3, 3, 12)))
    assert [sorted({s.camid for s in part}) for part in by_camera(samples, 2)] == [[0, 3], [7, 12]]
    assert [sorted({s.camid for s in part}) for part in by_camera(samples, 3)] == [[0, 3], [7], [12]]
    with pytest.raises(ValueError, match="4 cameras cannot be dealt to 5 clients"):
        by_camera(samples, 5)


def test_dirichlet_gathers_with_a_small_alpha_and_spreads_with_a_large_one():
    samples = make(*((pid, 0, None) for pid in range(50) for _ in range(40)))

    def largest_shares(alpha):
        parts = dirichlet(samples, 4, alpha, seed=0)
        counts = [Counter(s.pid for s in part) for part in parts]
        return sum(max(count[pid] for count in counts) / 40 for pid in range(50)) / 50

    assert largest_shares(0.01) > 0.95
    assert largest_shares(1000) < 0.45  # 0.25 each, and the noise of 40 draws


def test_dirichlet_does_not_favour_a_client_with_vehicles_of_one_picture():
    """400 single pictures over 4 clients: 100 each, standard deviation sqrt(400 * 1/4 * 3/4) = 8.7; 45 is 5 of them."""
    parts = dirichlet(make(*((pid, 0, None) for pid in range(400))), 4, 0.5, seed=1)
    assert all(abs(len(part) - 100) < 45 for part in parts)


@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf")])
def test_dirichlet_needs_a_positive_alpha(alpha):
    with pytest.raises(ValueError, match="alpha"):
        dirichlet(make((1, 0, None)), 2, alpha, 0)


def test_unknown_ways_and_no_clients_are_refused():
    samples = make((1, 0, "west"))
    with pytest.raises(ValueError, match="known: site, identity, camera, dirichlet"):
        partition(samples, by="colour", num_clients=1, alpha=1, seed=0)
    with pytest.raises(ValueError, match="known: site, identity, camera, dirichlet"):
        partition_directions([], by="colour", num_clients=1, alpha=1, seed=0, sites=())
    for by in ("identity", "camera", "dirichlet"):
        with pytest.raises(ValueError, match="at least one client"):
            partition(samples, by=by, num_clients=0, alpha=1, seed=0)


def test_directions_by_site_follow_the_order_of_training():
    samples = make((1, 0, "west"), (1, 1, "west"), (2, 0, "east"), (2, 1, "east"))
    direction = Direction("there", tuple(samples[::2]), tuple(samples[1::2]))
    parts = partition_directions([direction], by="site", num_clients=3, seed=0, alpha=1, sites=("east", "mid", "west"))
    assert parts == [
        [Direction("there", (samples[2],), (samples[3],))],
        [Direction("there", (), ())],
        [Direction("there", (samples[0],), (samples[1],))],
    ]
    with pytest.raises(ValueError, match=r"0\.jpg is from 'west', where nobody trains"):
        partition_directions([direction], by="site", num_clients=1, seed=0, alpha=1, sites=("east",))
    with pytest.raises(ValueError, match="1 sites, not 2"):
        partition_directions([direction], by="site", num_clients=2, seed=0, alpha=1, sites=("east",))


@given(samples_of_any_size, st.sampled_from(["identity", "camera", "dirichlet"]), st.integers(1, 4), st.integers(0, 9))
def test_directions_keep_query_and_gallery_of_a_vehicle_together(samples, by, num_clients, seed):
    directions = [each_against_all("all", samples), Direction("half", tuple(samples[::2]), tuple(samples[1::2]))]
    parts = partition_directions(directions, by=by, num_clients=num_clients, seed=seed, alpha=1, sites=())
    assert [[d.name for d in part] for part in parts] == [["all", "half"]] * num_clients
    owner = {s.pid: client for client, part in enumerate(parts) for s in part[0].query}
    for place, direction in enumerate(directions):
        for client, part in enumerate(parts):
            assert part[place].query == tuple(s for s in direction.query if owner[s.pid] == client)
            assert part[place].gallery == tuple(s for s in direction.gallery if owner[s.pid] == client)


@given(samples_of_any_size, st.integers(0, 9))
def test_a_client_is_evaluated_on_the_vehicles_it_trains_on(samples, seed):
    if len({s.pid for s in samples}) < 3:
        return
    trained = by_identity(samples, 3, seed)
    there = Direction("there", tuple(samples[::2]), tuple(samples[1::2]))
    back = Direction("back", there.gallery, there.query)
    evaluated = partition_directions([there, back], by="identity", num_clients=3, seed=seed, alpha=1, sites=())
    for part, (direction, _) in zip(trained, evaluated, strict=True):
        assert set(part) == {*direction.query, *direction.gallery}


def test_the_table_counts_by_hand():
    samples = make((1, 0, None), (1, 1, None), (1, 1, None), (2, 0, None))
    lines = table([samples, [], [replace(samples[0], camid=9)]]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["0", "4", "2", "2", "1/2/3"],
        ["1", "0", "0", "0", "-"],
        ["2", "1", "1", "1", "1/1/1"],
    ]
    assert len({len(line) for line in lines}) == 1
    dark = [replace(samples[0], modality="infrared"), *samples[:2], replace(samples[3], modality="infrared")]
    lines = table([samples, dark]).splitlines()
    assert lines[0].endswith("infrared  in both")
    assert [line.split()[-2:] for line in lines[1:]] == [["0", "0"], ["2", "1"]]


def test_a_table_of_many_clients_shows_sixteen_and_says_so():
    lines = table([[] for _ in range(40)]).splitlines()
    assert [int(line.split()[0]) for line in lines[1:-1]] == [round(place * 39 / 15) for place in range(16)]
    assert lines[-1] == "16 of 40 clients are shown"
    assert len(table([[] for _ in range(16)]).splitlines()) == 17
