"""Sightings and incidents in the API: lists with filters, one sighting, tables, retention."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field

from app.images.decode import UnreadableImageError, upright_size
from app.register.accounts import Role, User
from app.register.history import PAGE, Chosen, Reported, Seen
from app.register.identification import Identification
from app.register.matcher import NOBODY
from app.register.retention import MOST_DAYS, retention_days, set_retention_days
from app.register.site_time import Zone
from app.web.answers import BoxAnswer, IncidentAnswer, ListedAnswer
from app.web.api import Id, Service
from app.web.bodies import Given, Line, Number
from app.web.identify import listed_answers
from app.web.refusals import REFUSED
from app.web.security import Admin, Guard, Manager, require_own
from app.web.state import State

router = APIRouter(prefix="/api", responses=REFUSED)
_MOST_CANDIDATES = 5


def blank(given: Any) -> Any:
    """A form sends a field that was left empty as an empty text."""
    return None if given == "" else given


def _day(given: Any) -> Any:
    if isinstance(given, str) and given:
        return date.fromisoformat(given) if len(given) == len("2000-01-01") else "no day"
    return blank(given)


Day = Annotated[date | None, BeforeValidator(_day), Query(description="A day at the site, as 2026-01-31.")]
Decided = Annotated[
    Literal["match", "unsure", "unknown", "not_registered"] | None,
    BeforeValidator(blank),
    Query(description="Answer."),
]
OfVehicle = Annotated[Number | None, BeforeValidator(blank), Query(description="Number of a vehicle.")]
OfAccount = Annotated[Line, Query(description="Name of an account; for guards always their own.")]
OfCamera = Annotated[Line, Query(description="Name of the camera that took the photographs.")]
OfState = Annotated[Literal["open", "closed"] | None, BeforeValidator(blank), Query(description="Of incidents.")]
Before = Annotated[Number | None, BeforeValidator(blank), Query(description="Those with a smaller number.")]
Limit = Annotated[int, Query(ge=1, le=200)]


class ChosenSightings:
    """Filters of a list of sightings. A guard sees own ones alone."""

    def __init__(
        self,
        user: Guard,
        service: Service,
        day: Day = None,
        decision: Decided = None,
        vehicle: OfVehicle = None,
        account: OfAccount = "",
        camera: OfCamera = "",
    ) -> None:
        whose = (account or None) if user.role >= Role.manager else user.name
        of: dict[str, Any] = {"day": day, "decision": decision, "vehicle": vehicle}
        self.chosen = Chosen(**of, account=whose, camera=camera or None, zone=service.zone)


class ChosenIncidents:
    """Filters of a list of incidents."""

    def __init__(self, service: Service, day: Day = None, vehicle: OfVehicle = None, state: OfState = None) -> None:
        is_open = None if state is None else state == "open"
        self.chosen = Chosen(day=day, vehicle=vehicle, is_open=is_open, zone=service.zone)


OfSightings = Annotated[ChosenSightings, Depends()]
OfIncidents = Annotated[ChosenIncidents, Depends()]


class SightingAnswer(BaseModel):
    """An identification that was kept."""

    id: int
    created: datetime
    account: str
    camera: str | None = Field(description="That took the photographs; null for a person.")
    place: str | None = Field(description="Of that camera.")
    decision: str
    vehicle: int | None = Field(description="As somebody confirmed, or as it was named.")
    plate: str | None = Field(description="Of that vehicle.")
    plate_read: str | None = Field(description="The text of the plate in the photographs.")
    confirmed: str | None = Field(description="vehicle, none or wrong, as somebody said; null if nobody did.")
    incidents: list[int]
    pictures: list[str]
    listed: list[ListedAnswer] = Field(default=[], description="Entries of the lists, as they were then.")

    @classmethod
    def fields_of(cls, row: Seen, visible: set[int], zone: Zone) -> dict[str, Any]:
        """The fields of a sighting; the plate of a vehicle that is visible to the user."""
        sighting = row.sighting
        names = ("id", "created", "account", "camera", "place", "decision", "pictures")
        own = {name: getattr(sighting, name) for name in names}
        own |= {name: getattr(row, name) for name in ("vehicle", "plate_read", "confirmed", "incidents")}
        listed = listed_answers(sighting.answer.get("listed", []), zone)
        return own | {"plate": row.plate if row.vehicle in visible else None, "listed": listed}


class KeptPhotograph(BaseModel):
    """A photograph of a sighting, as it was kept."""

    picture: str
    plate_picture: str | None
    modality: str
    width: int | None = Field(description="In pixels; null where its file is missing or damaged.")
    height: int | None
    box: BoxAnswer | None
    plate_box: BoxAnswer | None


class SimilarVehicle(BaseModel):
    """A vehicle that the answer showed."""

    vehicle: int
    plate: str | None
    picture: str | None


class WholeSightingAnswer(SightingAnswer):
    """An identification with its photographs."""

    photographs: list[KeptPhotograph]
    candidates: list[SimilarVehicle] = Field(description="Those that the answer showed and that are still registered.")


class RetentionAnswer(BaseModel):
    """Days for which sightings are kept that led to no report."""

    days: int | None = Field(description="Null for ever.")


class NewRetention(Given):
    """Days for which sightings are to be kept."""

    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None


@router.get("/sightings")
async def sightings(
    user: Guard, service: Service, filters: OfSightings, before: Before = None, limit: Limit = PAGE
) -> list[SightingAnswer]:
    """List identifications, newest first; a guard's own alone."""
    rows = await service.aside(service.identification.history.sightings, filters.chosen, before, limit)
    visible = await service.aside(visible_to, service.identification, user, [row.vehicle for row in rows])
    zone = service.zone
    return [SightingAnswer(**SightingAnswer.fields_of(row, visible, zone)) for row in rows]


@router.get("/sightings.csv", response_class=StreamingResponse)
async def sightings_table(user: Manager, service: Service, filters: OfSightings) -> StreamingResponse:
    """The same list as a table in UTF-8; the trail says who took it away."""
    return await table_answer(
        service, "sightings", service.identification.history.sightings_table(filters.chosen, user.name)
    )


@router.get("/sightings/{sighting}")
async def sighting(user: Guard, service: Service, sighting: Id) -> WholeSightingAnswer:
    """One identification with its photographs; a guard's own alone."""
    return await service.aside(whole_sighting, service.identification, sighting, user, service.zone)


@router.get("/incidents")
async def incidents(
    user: Guard,
    service: Service,
    filters: OfIncidents,
    open_only: bool = False,
    before: Before = None,
    limit: Limit = 200,
) -> list[IncidentAnswer]:
    """List incidents, newest first."""
    del user
    chosen = replace(filters.chosen, is_open=True) if open_only else filters.chosen
    rows = await service.aside(service.identification.history.incidents, chosen, before, limit)
    return [IncidentAnswer.of(row.incident) for row in rows]


@router.get("/incidents.csv", response_class=StreamingResponse)
async def incidents_table(user: Manager, service: Service, filters: OfIncidents) -> StreamingResponse:
    """Incidents as a table in UTF-8; the trail says who took it away."""
    return await table_answer(
        service, "incidents", service.identification.history.incidents_table(filters.chosen, user.name)
    )


@router.post("/incidents/{incident}/reopen")
async def reopen_incident(user: Manager, service: Service, incident: Id) -> IncidentAnswer:
    """Mark an incident as open again."""
    await service.aside(service.identification.history.reopen_incident, incident, user.name)
    return IncidentAnswer.of(await service.aside(service.identification.journal.incident, incident))


@router.get("/retention")
async def retention(user: Manager, service: Service) -> RetentionAnswer:
    """Days for which sightings are kept; then the service deletes those that led to no report."""
    del user
    return RetentionAnswer(days=await service.aside(retention_days, service.identification.database))


@router.put("/retention")
async def set_retention(user: Admin, service: Service, retention: NewRetention) -> RetentionAnswer:
    """Set the days for which sightings are kept."""
    await service.aside(set_retention_days, service.identification.database, retention.days, user.name)
    return RetentionAnswer(days=retention.days)


def whole_sighting(identification: Identification, number: int, user: User, zone: Zone) -> WholeSightingAnswer:
    """A sighting with its photographs. Raises NotEnrolledError, for a guard also for one of another account."""
    require_own(identification, user, number)
    row = identification.history.sighting(number)
    answer = row.sighting.answer
    # Sightings of earlier versions hold names of photographs alone.
    views = answer.get("views") or [{"picture": name} for name in row.sighting.pictures]
    near = []
    if row.sighting.decision not in NOBODY:
        near = (answer.get("candidates") or {}).get(answer.get("decided_by"), [])
    return WholeSightingAnswer(
        **SightingAnswer.fields_of(row, visible_to(identification, user, [row.vehicle]), zone),
        photographs=[_photograph(identification, view) for view in views],
        candidates=list(_candidates(identification, [each["vehicle"] for each in near[:_MOST_CANDIDATES]])),
    )


def visible_to(identification: Identification, user: User, vehicles: Iterable[int | None]) -> set[int]:
    """Those of the vehicles that a user may look at."""
    named = {vehicle for vehicle in vehicles if vehicle is not None}
    return named if user.role >= Role.manager else identification.visible.vehicles(user.name, named)


def may_show_photographs(row: Reported, user: User) -> bool:
    """Whether a user may see the photographs of an incident: a guard those of own reports, which are of own queries."""
    return user.role >= Role.manager or row.incident.account == user.name


def _candidates(identification: Identification, vehicles: list[int]) -> Iterator[SimilarVehicle]:
    for vehicle in vehicles:
        glance = identification.register.seen_by_guards(vehicle)
        if glance.images:
            yield SimilarVehicle(vehicle=vehicle, plate=glance.plate, picture=next(iter(glance.images.values())))


def _photograph(identification: Identification, view: dict[str, Any]) -> KeptPhotograph:
    width, height = _size(identification, view["picture"])
    return KeptPhotograph(
        picture=view["picture"],
        plate_picture=view.get("plate_picture"),
        modality=view.get("modality", "visible"),
        width=width,
        height=height,
        box=view.get("vehicle_box"),
        plate_box=view.get("plate_box"),
    )


def _size(identification: Identification, name: str) -> tuple[int | None, int | None]:
    try:
        return upright_size(identification.photos.path(name))
    except (FileNotFoundError, UnreadableImageError):
        return None, None


async def table_answer(service: State, name: str, parts: Iterator[str]) -> StreamingResponse:
    """A table that is sent as it is read. Its first part is read before: an error there is still answered as one."""
    first = await service.aside(next, parts)

    def content() -> Iterator[str]:
        yield first
        yield from parts

    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(content(), media_type="text/csv; charset=utf-8", headers=headers)
