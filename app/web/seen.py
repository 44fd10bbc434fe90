"""Visibility of vehicles by role: a manager sees all, a guard those that an answer showed."""

from pathlib import Path

from app.register.accounts import Role, User
from app.register.errors import NotEnrolledError
from app.register.identification import Identification
from app.register.schema import Vehicle


def look_at(identification: Identification, number: int, user: User) -> Vehicle:
    """A vehicle with its pictures; the look is written to the trail. Raises NotEnrolledError, for a guard also where no
    answer showed the vehicle."""
    if user.role < Role.manager:
        identification.visible.require_vehicle(number, user.name)
    return identification.register.look_at(number, user.name)


def picture(identification: Identification, name: str, user: User) -> Path:
    """The file of a picture. Raises NotEnrolledError, for a guard also where no answer showed it."""
    path = identification.photos.path(name)
    if not path.is_file() or (user.role < Role.manager and not identification.visible.has_picture(name, user.name)):
        raise NotEnrolledError("there is no such picture")
    return path


def report_incident(
    identification: Identification, user: User, sighting: int, kind: str, note: str, vehicle: int | None
) -> int:
    """Report what a sighting shows; number of the incident. Raises NotEnrolledError, for a guard also for a sighting of
    another account, and for a vehicle that no answer showed."""
    if user.role < Role.manager:
        identification.visible.require_sighting(sighting, user.name)
        if vehicle is not None:
            identification.visible.require_vehicle(vehicle, user.name)
    return identification.journal.report_incident(sighting, kind, note, user.name, vehicle)
