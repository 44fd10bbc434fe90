"""Notes to owners about incidents, in the API."""

from fastapi import APIRouter

from app.register.accounts import Role, User
from app.register.errors import NotEnrolledError
from app.register.identification import Identification
from app.register.notes import queue_note
from app.register.schema import Incident
from app.web.answers import IncidentAnswer
from app.web.api import Id, Service
from app.web.bodies import NewNote
from app.web.refusals import REFUSED
from app.web.security import Guard

router = APIRouter(prefix="/api", responses=REFUSED)


@router.post("/incidents/{incident}/note")
async def note_to_owner(user: Guard, service: Service, incident: Id, note: NewNote) -> IncidentAnswer:
    """Queue a mail to the owner of an incident's vehicle, once; a guard's own reports alone. The owner's name and
    address are not in the answer."""
    return IncidentAnswer.of(await service.aside(_note, service.identification, user, incident, note.text))


def may_write_to_owner(incident: Incident, user: User) -> bool:
    """Whether a user may write to the owner of an incident's vehicle: a guard about own reports."""
    return user.role >= Role.manager or incident.account == user.name


def _note(identification: Identification, user: User, number: int, text: str) -> Incident:
    """Queue a note. Raises NotEnrolledError for a guard and another account's report."""
    if not may_write_to_owner(identification.journal.incident(number), user):
        raise NotEnrolledError(f"there is no incident {number} of yours")
    return queue_note(identification.outbox, number, text, user.name)
