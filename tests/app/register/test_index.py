"""The nearest vehicles, against plain loops, in memory and in PostgreSQL."""

import numpy as np
import pytest
from registers import LIBRARIES, vectors, view

from app.register.index import make_index


def dot(first, second):
    return sum(float(a) * float(b) for a, b in zip(first, second, strict=True))


def usual(row, held, without):
    """Mean of the three best similarities to vehicles but these; of fewer, of those there are."""
    best = [max(dot(row, view) for view in views) for vehicle, views in held.items() if vehicle not in without]
    best = sorted(best, reverse=True)[:3]
    return sum(best) / len(best) if best else 0.0


def slow_search(held, photographs, limit):
    """Vehicle, score and cosine from the formula of local scaling, in float64, vehicle by vehicle."""
    found = []
    for vehicle, views in held.items():
        around = [usual(row, held, {vehicle}) for row in views]
        cosine, score = 0.0, 0.0
        for photo in photographs:
            similarities = [dot(row, photo) for row in views]
            cosine += max(similarities)
            scaled = max(value - its / 2 for value, its in zip(similarities, around, strict=True))
            score += scaled - usual(photo, held, {vehicle}) / 2
        found.append((-score / len(photographs), vehicle, cosine / len(photographs)))
    return [(vehicle, -score, cosine) for score, vehicle, cosine in sorted(found)[:limit]]


def enrol(register, model, rng, held, views):
    new = [view(rng) for _ in range(views)]
    number = register.enrol(new, model_id=model.id, account="tester")
    for name in LIBRARIES:
        held[name][number] = [each.vectors[name].astype(np.float64) for each in new]
    return number


def compare(index, held, rng):
    for name in LIBRARIES:
        for count in (1, 3):
            photographs = np.stack([vectors(rng)[name] for _ in range(count)])
            found = index.search(name, photographs, 4)
            wanted = slow_search(held[name], photographs.astype(np.float64), 4)
            assert [candidate.vehicle for candidate in found] == [vehicle for vehicle, _, _ in wanted]
            # dot products of up to six float32 values, and means of three of them
            assert [candidate.score for candidate in found] == pytest.approx(
                [score for _, score, _ in wanted], abs=2e-6
            )
            assert [candidate.similarity for candidate in found] == pytest.approx(
                [cosine for *_, cosine in wanted], abs=1e-6
            )


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


def test_more_rows_than_a_block(register, model, monkeypatch):
    monkeypatch.setattr("app.register.memory_index.BLOCK_ROWS", 3)
    rng = np.random.default_rng(4)
    held = {name: {} for name in LIBRARIES}
    index = make_index(register.database, model.id)
    numbers = [enrol(register, model, rng, held, 2) for _ in range(5)]
    compare(index, held, rng)
    register.forget(account="tester", vehicle_id=numbers[0])
    for name in LIBRARIES:
        del held[name][numbers[0]]
    compare(index, held, rng)
