"""The nearest vehicles, against plain loops, in memory and in PostgreSQL."""

import numpy as np
import pytest
from registers import LIBRARIES, vectors, view

from app.register.index import make_index


def slow_search(held, photographs, limit):
    """Mean over photographs of the best view, in float64, vehicle by vehicle."""
    found = []
    for vehicle, views in held.items():
        best = [
            max(float(sum(a * b for a, b in zip(row, photo, strict=True))) for row in views) for photo in photographs
        ]
        found.append((-sum(best) / len(best), vehicle))
    return [(vehicle, -score) for score, vehicle in sorted(found)[:limit]]


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
            assert [candidate.vehicle for candidate in found] == [vehicle for vehicle, _ in wanted]
            # dot products of up to six float32 values
            assert [candidate.similarity for candidate in found] == pytest.approx(
                [score for _, score in wanted], abs=1e-6
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
    monkeypatch.setattr("app.register.index._BLOCK_ROWS", 3)
    rng = np.random.default_rng(4)
    held = {name: {} for name in LIBRARIES}
    index = make_index(register.database, model.id)
    numbers = [enrol(register, model, rng, held, 2) for _ in range(5)]
    compare(index, held, rng)
    register.forget(account="tester", vehicle_id=numbers[0])
    for name in LIBRARIES:
        del held[name][numbers[0]]
    compare(index, held, rng)
