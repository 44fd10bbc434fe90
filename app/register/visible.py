"""Vehicles visible to an account that sees them only where an answer showed them to it."""

from sqlalchemy import select

from app.register.database import Database
from app.register.errors import NotEnrolledError
from app.register.rows import MOST_NUMBER
from app.register.schema import Shown, Sighting, View


class Visible:
    """Vehicles and images that the answers of a register showed, by account.

    They stay visible as long as the sighting is kept whose answer showed them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def require_vehicle(self, number: int, account: str) -> None:
        """Raise NotEnrolledError for a vehicle that no answer showed to the account; the same for one that is not
        there, so that numbers tell nothing."""
        if number not in self.vehicles(account, {number}):
            raise NotEnrolledError(f"there is no vehicle {number} that an answer showed to you")

    def vehicles(self, account: str, numbers: set[int]) -> set[int]:
        """Those of the vehicles that an answer showed to the account."""
        asked = [number for number in numbers if 0 < number <= MOST_NUMBER]
        wanted = select(Shown.vehicle_id).where(Shown.account == account, Shown.vehicle_id.in_(asked)).distinct()
        with self.database.reading() as session:
            return {number for number in session.scalars(wanted) if number is not None}

    def has_picture(self, name: str, account: str) -> bool:
        """Whether an image is one of the account's own queries, or of a vehicle that an answer showed to it."""
        own = select(Shown.id).where(Shown.account == account, Shown.picture == name)
        shown = select(Shown.vehicle_id).where(Shown.account == account, Shown.vehicle_id.is_not(None))
        held = select(View.id).where(View.vehicle_id.in_(shown), (View.picture == name) | (View.plate_picture == name))
        with self.database.reading() as session:
            return session.scalar(own.limit(1)) is not None or session.scalar(held.limit(1)) is not None

    def require_sighting(self, number: int, account: str) -> None:
        """Raise NotEnrolledError for a sighting that is not of one of the account's own queries."""
        with self.database.reading() as session:
            sighting = session.get(Sighting, number) if 0 < number <= MOST_NUMBER else None
            if sighting is None or sighting.account != account:
                raise NotEnrolledError(f"there is no sighting {number} of yours")
