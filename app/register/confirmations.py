"""Confirmations: what a guard says that the photographs of a sighting show, kept with the sighting."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app.evaluation.calibration import Interval, shares_of_vehicles
from app.register.database import Database
from app.register.errors import NotEnrolledError, RegisterError
from app.register.matcher import NOBODY, Outcome
from app.register.records import get, trail
from app.register.schema import Confirmation, Sighting, Vehicle, now


class Says(StrEnum):
    """A person's word about an answer."""

    right = "right"
    wrong = "wrong"
    """Which vehicle it was is not known."""
    vehicle = "vehicle"
    none = "none"
    """It was no registered vehicle."""


class Confirmations:
    """The table of confirmations, one for a sighting at most; the last word counts."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def confirm(
        self, sighting_id: int, says: Says, account: str, vehicle_id: int | None = None
    ) -> tuple[Confirmation, bool | None]:
        """Keep what somebody says about the answer of a sighting, in place of what was said before; `is_right` of it.

        Args:
            vehicle_id: the vehicle it was, with `Says.vehicle` alone.

        Raises NotEnrolledError, and RegisterError for a word that does not fit the answer."""
        if (says is Says.vehicle) != (vehicle_id is not None):
            raise RegisterError("a vehicle belongs to the answer `vehicle`, and to no other")
        with self.database.writing() as session:
            sighting = get(session, Sighting, sighting_id)
            truth, vehicle = _truth(sighting, says, vehicle_id)
            if vehicle is not None:
                get(session, Vehicle, vehicle)
            row = session.get(Confirmation, sighting_id) or Confirmation(sighting_id=sighting_id)
            row.truth, row.vehicle_id, row.account, row.created = truth.value, vehicle, account, now()
            session.add(row)
            trail(session, account, "confirm", f"sighting {sighting_id}", {"truth": truth.value, "vehicle": vehicle})
            return row, is_right(sighting, row)

    def withdraw(self, sighting_id: int, account: str) -> None:
        """Withdraw a confirmation. Raises NotEnrolledError where there is none."""
        with self.database.writing() as session:
            session.delete(_confirmation(session, sighting_id))
            trail(session, account, "withdraw confirmation", f"sighting {sighting_id}", {})

    def of(self, sighting_id: int) -> tuple[Confirmation, bool | None]:
        """The confirmation of a sighting, and `is_right` of it. Raises NotEnrolledError where there is none."""
        with self.database.reading() as session:
            row = _confirmation(session, sighting_id)
            return row, is_right(get(session, Sighting, sighting_id), row)

    def all(self, *, whole: bool = True) -> list[tuple[Sighting, Confirmation]]:
        """Confirmed sightings, oldest first.

        Args:
            whole: with the answers and photographs, which are nearly all of the bytes.
        """
        with self.database.reading() as session:
            query = select(Sighting, Confirmation).join(Confirmation, Confirmation.sighting_id == Sighting.id)
            if not whole:
                query = query.options(defer(Sighting.answer, raiseload=True), defer(Sighting.pictures, raiseload=True))
            return [(sighting, row) for sighting, row in session.execute(query.order_by(Sighting.id))]


class Answered(NamedTuple):
    """Confirmed answers by what they were, as they were given.

    Args:
        residents, strangers: how many were of registered vehicles, and of others.
        right, wrong: residents named right, and with another's name.
        named: strangers with a resident's name.
        named_share: their share of the strangers; None without strangers.
        unclear: wrong answers of which nobody knows what was right.
    """

    residents: int
    right: int
    wrong: int
    strangers: int
    named: int
    named_share: Interval | None
    unclear: int


def answered(rows: Sequence[tuple[Sighting, Confirmation]], since: datetime) -> Answered:
    """The confirmed answers since a moment."""
    late = [(sighting, row) for sighting, row in rows if sighting.created >= since]
    residents, strangers, unclear = (
        [(sighting, row) for sighting, row in late if row.truth == truth]
        for truth in (Says.vehicle, Says.none, Says.wrong)
    )
    named = np.array([sighting.decision == Outcome.match for sighting, _ in strangers], bool)
    share = shares_of_vehicles(named[None], np.arange(len(named)))[0] if len(named) else None
    right = sum(is_right(sighting, row) is True for sighting, row in residents)
    matched = sum(sighting.decision == Outcome.match for sighting, _ in residents)
    return Answered(len(residents), right, matched - right, len(strangers), int(named.sum()), share, len(unclear))


def is_right(sighting: Sighting, confirmation: Confirmation) -> bool | None:
    """Whether the answer was right; None for an unsure one, which says nothing that could be wrong."""
    if sighting.decision == Outcome.unsure:
        return None
    if sighting.decision == Outcome.match:
        return confirmation.vehicle_id is not None and confirmation.vehicle_id == sighting.vehicle_id
    return confirmation.truth == Says.none


def _truth(sighting: Sighting, says: Says, vehicle_id: int | None) -> tuple[Says, int | None]:
    """The word in terms of vehicles: `Says.right` stands for what was answered."""
    if sighting.decision == Outcome.unsure and says in (Says.right, Says.wrong):
        raise RegisterError("an unsure answer names nobody: say which vehicle it was, or none")
    if says is not Says.right:
        return says, vehicle_id
    if sighting.decision in NOBODY:
        return Says.none, None
    if sighting.vehicle_id is None:
        raise NotEnrolledError("the vehicle of this answer was forgotten")
    return Says.vehicle, sighting.vehicle_id


def _confirmation(session: Session, sighting_id: int) -> Confirmation:
    get(session, Sighting, sighting_id)
    row = session.get(Confirmation, sighting_id)
    if row is None:
        raise NotEnrolledError(f"nothing was confirmed about sighting {sighting_id}")
    return row
