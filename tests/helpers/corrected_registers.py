"""Registers with vehicles to be corrected, as fixtures, and what is read of them afterwards."""

import numpy as np
import pytest
from registers import view
from sqlalchemy import select

from app.register.corrections import Corrections
from app.register.records import NewOwner
from app.register.schema import Base, Vehicle
from app.register.sightings import Journal

RNG = np.random.default_rng(0)


@pytest.fixture
def corrections(register):
    return Corrections(register)


@pytest.fixture
def three_vehicles(register, model):
    """Two vehicles of one owner, and one of another owner."""
    owner = NewOwner("A. Resident", "12", "evenings")
    first = register.enrol(
        [view(RNG), view(RNG)], model_id=model.id, account="t", owner=owner, plate="AB 12", note="van"
    )
    second = register.enrol([view(RNG)], model_id=model.id, account="t", owner=register.vehicle(first).owner_id)
    third = register.enrol([view(RNG)], model_id=model.id, account="t", owner=NewOwner("Other"), plate="CD 34")
    return first, second, third


def state(database):
    """Rows of all tables but the trail, the changes and what undoes the last one."""
    with database.reading() as session:
        tables = [t for t in Base.metadata.sorted_tables if t.name not in ("audit", "change", "correction")]
        return {t.name: sorted(map(repr, session.execute(select(t)))) for t in tables}


def about(register, number):
    """What a person sees of a vehicle."""
    with register.database.reading() as session:
        vehicle = session.get(Vehicle, number)
        owner = vehicle.owner and (vehicle.owner.name, vehicle.owner.flat, vehicle.owner.contact)
        return vehicle.plate and vehicle.plate.text, vehicle.note, owner


def trail_lines(register):
    return [(row.action, row.subject, row.details) for row in Journal(register.database).audit()]
