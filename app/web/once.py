"""Requests with a key of their sender's: done once, however often they are sent."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Header

from app.images.decode import UnreadableImageError, upright_size
from app.register.accounts import User
from app.register.errors import UnavailableError
from app.register.identification import Identification
from app.register.matcher import NOBODY
from app.register.photos import VehiclePhoto
from app.register.sent_once import SentRequest
from app.register.site_time import Zone
from app.web import security
from app.web.answers import IdentifyAnswer, PhotographAnswer, PlateTextAnswer
from app.web.bodies import NewIncident
from app.web.identify import Uploaded, candidate_answers, evidence_answer, identify_photos, listed_answers
from app.web.state import State

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9-]{16,64}$",
        description="Chosen by the sender, new for each request: sent again, it is answered as before, not done again.",
    ),
]


async def identify_once(
    service: State, user: User, uploaded: Uploaded, enrol_unknown: bool, key: str
) -> IdentifyAnswer:
    """The answer to a query, from the sighting that was kept if it was answered before. Raises KeyReusedError."""
    identification = service.identification
    digest = await uploaded.digest(f"identify {enrol_unknown}")
    find = identification.sent_once.find

    async def do() -> IdentifyAnswer:
        photos = await uploaded.vehicle_photos(service)
        about = identification, photos, user.name, enrol_unknown, service.zone, key, digest
        answer = await service.with_network(_identify_and_keep, *about)
        service.note_query(answer.decision)
        return answer

    async with service.turn(user.name, key):
        held = await service.aside(find, user.name, key, digest)
        if held is None:
            try:
                return await do()
            except UnavailableError:  # somebody who was cut off may have been served meanwhile
                held = await service.aside(find, user.name, key, digest)
                if held is None:
                    raise
        return await service.aside(_kept_answer, identification, held, service.zone)


async def report_once(service: State, user: User, incident: NewIncident, key: str) -> int:
    """The number of an incident, of that which was reported before with the key. Raises KeyReusedError."""
    digest = hashlib.sha256(b"incident " + incident.model_dump_json().encode()).hexdigest()
    sent = service.identification.sent_once
    async with service.turn(user.name, key):
        held = await service.aside(sent.find, user.name, key, digest)
        if held is not None and held.incident_id is not None:
            return held.incident_id
        also = sent.of_incident(user.name, key, digest)
        given = incident.sighting, incident.kind, incident.note, incident.vehicle
        return await service.aside(security.report_incident, service.identification, user, *given, also=also)


def _identify_and_keep(
    identification: Identification,
    photos: Sequence[VehiclePhoto],
    account: str,
    enrol_unknown: bool,
    zone: Zone,
    key: str,
    digest: str,
) -> IdentifyAnswer:
    sent = identification.sent_once
    answer = identify_photos(
        identification, photos, account, enrol_unknown, zone, also=sent.of_sighting(account, key, digest)
    )
    sent.add_photographs(account, key, [row.model_dump() for row in answer.photographs])
    return answer


def _kept_answer(identification: Identification, held: SentRequest, zone: Zone) -> IdentifyAnswer:
    """The answer as its sighting tells it: with plates and flats as they are now, none of a vehicle that is gone."""
    assert held.sighting_id is not None
    sighting = identification.history.sighting(held.sighting_id).sighting
    kept: Mapping[str, Any] = sighting.answer
    near = [] if sighting.decision in NOBODY else kept["candidates"].get(kept["decided_by"], [])
    pictures = [view["picture"] for view in kept["views"]]
    if held.photographs is not None:
        photographs = [PhotographAnswer.model_validate(row) for row in held.photographs]
    else:
        photographs = [_photograph(identification, view) for view in kept["views"]]
    fields = {name: kept[name] for name in ("decision", "vehicle", "decided_by", "similarity", "threshold", "margin")}
    return IdentifyAnswer(
        **fields,
        candidates=candidate_answers(
            identification, [(row["vehicle"], row["similarity"], row["view"]) for row in near]
        ),
        evidence=evidence_answer(kept["evidence"], {row["vehicle"] for row in near}),
        plate_text=_plate_text(identification, kept["plate_text"]),
        listed=listed_answers(kept.get("listed", []), zone),
        sighting=sighting.id,
        enrolled=sighting.vehicle_id if sighting.decision in NOBODY else None,
        pictures=pictures,
        photographs=photographs,
    )


def _plate_text(identification: Identification, kept: Mapping[str, Any] | None) -> PlateTextAnswer | None:
    if kept is None:
        return None
    plates = {
        row["vehicle"]: identification.register.seen_by_guards(row["vehicle"]).plate for row in kept["candidates"]
    }
    there = [{**row, "plate": plates[row["vehicle"]]} for row in kept["candidates"] if plates[row["vehicle"]]]
    return PlateTextAnswer.model_validate({**kept, "candidates": there})


def _photograph(identification: Identification, view: Mapping[str, Any]) -> PhotographAnswer:
    try:
        width, height = upright_size(identification.photos.path(view["picture"]))
    except (FileNotFoundError, UnreadableImageError):
        width = height = 1
    return PhotographAnswer(
        picture=view["picture"],
        modality=view["modality"],
        width=width,
        height=height,
        box=view["vehicle_box"],
        plate_box=view["plate_box"],
        kind=None,
        vehicles=None,
    )
