"""The nearest vehicles, against plain loops, in memory and in PostgreSQL."""

import numpy as np
import pytest
from registers import LIBRARIES, vectors, view
from slow_search import compare, slow_search

from app.register.index import make_index


def enrol(register, model, rng, held, views):
    new = [view(rng) for _ in range(views)]
    number = register.enrol(new, model_id=model.id, account="tester")
    for name in LIBRARIES:
        held[name][number] = [each.vectors[name].astype(np.float64) for each in new]
    return number


def test_it_follows_enrolments_further_views_and_forgotten_vehicles(register, model):
    rng = np.random.default_rng(0)
    held = {name: {} for name in LIBRARIES}
    index = make_index(register.database, model.id)
    assert index.search("vehicle", vectors(rng)["vehicle"][None], 3) == []
    numbers = [enrol(register, model, rng, held, views) for views in (1, 2, 3, 1, 2)]
    compare(index, held, rng)
    for gone in (numbers[1], numbers[4]):  # the last row of a library, and one amid it
        register.forget(account="tester", vehicle_id=gone)
        for name in LIBRARIES:
            del held[name][gone]
        compare(index, held, rng)
    more = view(rng)
    register.add_views(numbers[0], [more], model_id=model.id, account="tester")
    for name in LIBRARIES:
        held[name][numbers[0]].append(more.vectors[name].astype(np.float64))
    enrol(register, model, rng, held, 2)
    compare(index, held, rng)
    compare(make_index(register.database, model.id), held, rng)  # one that was not there then


def test_densities_follow_vehicles_that_come_and_go(register, model):
    """Every search fills what is known of neighbours; each change after it makes a part of that wrong."""
    rng = np.random.default_rng(5)
    held = {name: {} for name in LIBRARIES}
    index = make_index(register.database, model.id)
    for step in range(14):
        enrol(register, model, rng, held, 1 + step % 2)
        if step % 3 == 2:
            gone = int(rng.choice(list(held["vehicle"])))
            register.forget(account="tester", vehicle_id=gone)
            for name in LIBRARIES:
                del held[name][gone]
        compare(index, held, rng)


def test_vehicles_that_are_asked_for_are_compared_though_others_are_nearer(register, model):
    rng = np.random.default_rng(6)
    held = {name: {} for name in LIBRARIES}
    numbers = [enrol(register, model, rng, held, 1) for _ in range(8)]
    index = make_index(register.database, model.id)
    for count in (1, 2):
        photographs = np.stack([vectors(rng)["vehicle"] for _ in range(count)])
        wanted = slow_search(held["vehicle"], photographs, len(numbers))
        last = wanted[-1]
        found = index.search("vehicle", photographs, 2, also=[last[0], 10_000])
        assert [candidate.vehicle for candidate in found] == [wanted[0][0], wanted[1][0], last[0]]
        assert found[-1].score == pytest.approx(last[1], abs=2e-6)  # as above


def test_a_vehicle_without_plate_is_in_the_vehicle_library_alone(register, model):
    rng = np.random.default_rng(1)
    index = make_index(register.database, model.id)
    bare = register.enrol([view(rng, {"vehicle": 3})], model_id=model.id, account="tester")
    full = register.enrol([view(rng)], model_id=model.id, account="tester")
    asked = {name: row[None] for name, row in vectors(rng).items()}
    assert {candidate.vehicle for candidate in index.search("vehicle", asked["vehicle"], 5)} == {bare, full}
    assert [candidate.vehicle for candidate in index.search("fused", asked["fused"], 5)] == [full]


def test_the_best_view_is_named(register, model):
    rng = np.random.default_rng(2)
    new = [view(rng) for _ in range(3)]
    number = register.enrol(new, model_id=model.id, account="tester")
    views = [row.id for row in register.vehicle(number).views]
    index = make_index(register.database, model.id)
    for each, name in zip(new, views, strict=True):
        assert index.search("vehicle", each.vectors["vehicle"][None], 1)[0].view == name


def test_equal_vehicles_come_by_number(register, model):
    rng = np.random.default_rng(3)
    same = view(rng)
    numbers = [register.enrol([same], model_id=model.id, account="tester") for _ in range(4)]
    found = make_index(register.database, model.id).search("vehicle", same.vectors["vehicle"][None], 4)
    assert [candidate.vehicle for candidate in found] == numbers


@pytest.mark.parametrize("images", [1, 3, 16])
def test_more_rows_than_a_block_and_vehicles_with_more_images_than_are_compared(register, model, monkeypatch, images):
    monkeypatch.setattr("app.register.memory_index.BLOCK_ROWS", 3)
    monkeypatch.setattr("app.register.memory_index._NEAREST_IMAGES", images)
    rng = np.random.default_rng(4)
    held = {name: {} for name in LIBRARIES}
    index = make_index(register.database, model.id)
    numbers = [enrol(register, model, rng, held, 2) for _ in range(4)]
    numbers.append(enrol(register, model, rng, held, 9))
    compare(index, held, rng)
    register.forget(account="tester", vehicle_id=numbers[0])
    for name in LIBRARIES:
        del held[name][numbers[0]]
    compare(index, held, rng)


def test_a_look_is_asked_again_without_another_search(register, model, monkeypatch):
    rng = np.random.default_rng(6)
    held = {name: {} for name in LIBRARIES}
    index = make_index(register.database, model.id)
    monkeypatch.setattr("app.register.index.SHORTLIST", 2)
    monkeypatch.setattr("app.register.memory_index.SHORTLIST", 2)
    for _ in range(8):
        enrol(register, model, rng, held, 2)
    for count in (1, 3):
        photographs = np.stack([vectors(rng)["vehicle"] for _ in range(count)])
        wanted = index.search("vehicle", photographs, 2, {1, 5})  # and now all densities are known
        few = index.search("vehicle", photographs, 2)
        with monkeypatch.context() as patch:
            look = index.look("vehicle", photographs, 2)
            assert look.nearest() == few
            for name in (
                "app.register.memory_index.Library.similarities",
                "app.register.index.PgVectorIndex.nearest_by_cosine",
            ):
                patch.setattr(name, lambda *_: pytest.fail("searched again"))
            assert look.nearest({1, 5}) == wanted
        assert {each.vehicle for each in wanted} >= {1, 5}
        assert len(few) == 2


def test_a_look_at_an_empty_library_finds_nothing(register, model):
    index = make_index(register.database, model.id)
    index.prepare()
    look = index.look("vehicle", np.ones((2, 3), np.float32), 5)
    assert look.nearest() == look.nearest({1}) == []


def test_densities_found_beforehand_follow_vehicles_that_come_and_go(register, model):
    rng = np.random.default_rng(7)
    held = {name: {} for name in LIBRARIES}
    index = make_index(register.database, model.id)
    for step in range(12):
        enrol(register, model, rng, held, 1 + step % 3)
        if step == 8:
            more = view(rng)
            register.add_views(3, [more], model_id=model.id, account="tester")
            for name in LIBRARIES:
                held[name][3].append(more.vectors[name].astype(np.float64))
        if step % 4 == 3:
            gone = int(rng.choice([vehicle for vehicle in held["vehicle"] if vehicle != 3]))
            register.forget(account="tester", vehicle_id=gone)
            for name in LIBRARIES:
                del held[name][gone]
        index.prepare()
        while index.warm():
            pass
        compare(index, held, rng)


@pytest.fixture
def in_memory(register, model):
    """An index of twelve vehicles whose densities are all known."""
    if not register.database.is_sqlite:
        pytest.skip("PostgreSQL's densities are found when they are needed")
    rng = np.random.default_rng(8)
    held = {name: {} for name in LIBRARIES}
    for _ in range(12):
        enrol(register, model, rng, held, 2)
    index = make_index(register.database, model.id)
    index.prepare()
    while index.warm():
        pass
    return index, held, rng


def test_no_search_waits_for_densities_that_were_found_beforehand(in_memory, monkeypatch):
    index, held, rng = in_memory
    assert all(library.known[: library.size].all() for library in index.libraries.values())
    monkeypatch.setattr("app.register.memory_index.Library._look_around", lambda *_: pytest.fail("looked around"))
    compare(index, held, rng)


def test_an_enrolment_leaves_its_own_densities_alone_to_be_found(in_memory, register, model):
    index, held, rng = in_memory
    number = enrol(register, model, rng, held, 2)
    index.prepare()
    for library in index.libraries.values():
        unknown = np.flatnonzero(~library.known[: library.size])
        assert {library.vehicle_ids[library.row_slot[row]] for row in unknown} == {number}
    compare(index, held, rng)


def test_beforehand_a_few_at_a_time(in_memory, register, model, monkeypatch):
    index, held, rng = in_memory
    enrol(register, model, rng, held, 3)
    index.prepare()
    monkeypatch.setattr("app.register.memory_index._DENSITY_ROWS", 1)
    left = []
    while index.warm():
        left.append(sum(int((~each.known[: each.size]).sum()) for each in index.libraries.values()))
    assert left == list(range(8, -1, -1))
