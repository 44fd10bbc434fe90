"""Visibility of vehicles by role: a manager sees all, a guard those that an answer showed."""

from pathlib import Path

from app.register.accounts import Role, User
from app.register.errors import NotEnrolledError
from app.register.identification import Desk
from app.register.schema import Vehicle


def look_at(desk: Desk, number: int, user: User) -> Vehicle:
    """A vehicle with its pictures; the look is written to the trail. Raises NotEnrolledError, for a guard also where no
    answer showed the vehicle."""
    if user.role < Role.manager:
        desk.visible.require_vehicle(number, user.name)
    return desk.register.look_at(number, user.name)


def picture(desk: Desk, name: str, user: User) -> Path:
    """The file of a picture. Raises NotEnrolledError, for a guard also where no answer showed it."""
    path = desk.photos.path(name)
    if not path.is_file() or (user.role < Role.manager and not desk.visible.has_picture(name, user.name)):
        raise NotEnrolledError("there is no such picture")
    return path


def report_incident(desk: Desk, user: User, sighting: int, kind: str, note: str, vehicle: int | None) -> int:
    """Report what a sighting shows; number of the incident. Raises NotEnrolledError, for a guard also for a sighting of
    another account, and for a vehicle that no answer showed."""
    if user.role < Role.manager:
        desk.visible.require_sighting(sighting, user.name)
        if vehicle is not None:
            desk.visible.require_vehicle(vehicle, user.name)
    return desk.journal.report_incident(sighting, kind, note, user.name, vehicle)
