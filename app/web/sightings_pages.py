"""Pages of sightings and incidents."""

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from app.register.accounts import Role
from app.register.history import PAGE, Chosen
from app.register.retention import retention_days
from app.web.api import Id, Service
from app.web.notes import may_write_to_owner
from app.web.rendering import page
from app.web.security import Guard
from app.web.sightings import Before, OfIncidents, OfSightings, may_show_photographs, visible_to, whole_sighting

router = APIRouter(include_in_schema=False)


@router.get("/sightings")
async def sightings_page(
    request: Request, user: Guard, service: Service, filters: OfSightings, before: Before = None
) -> Response:
    history, chosen = service.identification.history, filters.chosen
    rows = await service.aside(history.sightings, chosen, before, PAGE + 1)
    visible = await service.aside(visible_to, service.identification, user, [row.vehicle for row in rows])
    days = None
    if user.role >= Role.admin:
        days = await service.aside(retention_days, service.identification.database)
    return page(
        request,
        "sightings.html",
        user,
        sightings=rows[:PAGE],
        visible=visible,
        chosen=chosen,
        query=_query(chosen, user.role),
        older=rows[PAGE - 1].sighting.id if len(rows) > PAGE else None,
        days=days,
    )


@router.get("/sightings/{sighting}")
async def sighting_page(request: Request, user: Guard, service: Service, sighting: Id) -> Response:
    row = await service.aside(whole_sighting, service.identification, sighting, user, service.zone)
    visible = await service.aside(visible_to, service.identification, user, [row.vehicle])
    return page(request, "sighting.html", user, sighting=row, visible=visible)


@router.get("/incidents")
async def incidents_page(
    request: Request, user: Guard, service: Service, filters: OfIncidents, before: Before = None
) -> Response:
    history, chosen = service.identification.history, filters.chosen
    rows = await service.aside(history.incidents, chosen, before, PAGE + 1)
    vehicles = [row.incident.vehicle_id for row in rows]
    with_notes = any(mail.notes for mail in service.identification.outbox.receivers().mail)
    visible = await service.aside(visible_to, service.identification, user, vehicles)
    return page(
        request,
        "incidents.html",
        user,
        incidents=rows[:PAGE],
        pictured={row.incident.id for row in rows if row.images and may_show_photographs(row, user)},
        notable={row.incident.id for row in rows if with_notes and may_write_to_owner(row.incident, user)},
        visible=visible,
        chosen=chosen,
        query=_query(chosen, user.role),
        older=rows[PAGE - 1].incident.id if len(rows) > PAGE else None,
    )


def _query(chosen: Chosen, role: Role) -> str:
    """The filters as in an address."""
    state = {True: "open", False: "closed", None: None}[chosen.is_open]
    account = chosen.account if role >= Role.manager else None
    given = {"day": chosen.day, "decision": chosen.decision, "vehicle": chosen.vehicle, "account": account}
    given["camera"] = chosen.camera
    return urlencode({name: value for name, value in {**given, "state": state}.items() if value is not None})
