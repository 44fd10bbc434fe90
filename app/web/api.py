"""The REST API, described at /api/openapi.json and shown at /api."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Query
from fastapi.responses import FileResponse

from app.register.accounts import Role
from app.register.confirmations import Says
from app.register.errors import NotEnrolledError
from app.web import security
from app.web.answers import (
    AccountAnswer,
    AlikeAnswer,
    AuditAnswer,
    ConfirmationAnswer,
    EnrolledAnswer,
    ForgottenAnswer,
    IdentifyAnswer,
    IncidentAnswer,
    OwnerAnswer,
    StatusAnswer,
    TokenAnswer,
    VehicleAnswer,
)
from app.web.bodies import Line, NewAccount, NewConfirmation, NewIncident, NewToken, Text
from app.web.identify import UploadedPhotos, enrol_photos, identify_photos
from app.web.once import Key, identify_once, report_once
from app.web.refusals import REFUSED
from app.web.security import Admin, AdminInSession, Guard, InSession, Manager
from app.web.state import State, state_of

router = APIRouter(prefix="/api", responses=REFUSED)
Service = Annotated[State, Depends(state_of)]
Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
After = Annotated[int, Query(ge=0, le=2**31 - 1)]
Flag = Annotated[bool, Form()]
ImageName = Annotated[str, Path(pattern=r"^[0-9a-f]{32}\.jpg$")]


@router.post("/identify")
async def identify(
    user: Guard,
    service: Service,
    uploaded: UploadedPhotos,
    enrol_unknown: Flag = False,
    key: Key = None,
) -> IdentifyAnswer:
    """Find the vehicle that photographs show. The identification is kept as a sighting. A manager may have an unknown
    vehicle enrolled."""
    if enrol_unknown and user.role < Role.manager:
        raise HTTPException(403, "enrolling needs the role manager")
    if key is not None:
        return await identify_once(service, user, uploaded, enrol_unknown, key)
    vehicle_photos = await uploaded.vehicle_photos(service)
    given = service.identification, vehicle_photos, user.name, enrol_unknown, service.zone
    answer = await service.with_network(identify_photos, *given)
    service.note_query(answer.decision)
    return answer


@router.get("/vehicles")
async def vehicles(
    user: Manager,
    service: Service,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[VehicleAnswer]:
    """List vehicles by number, from the one after `after`."""
    del user
    return [
        VehicleAnswer.of(row) for row in await service.aside(service.identification.register.vehicles, after, limit)
    ]


@router.post("/vehicles", status_code=201)
async def enrol(
    user: Manager,
    service: Service,
    uploaded: UploadedPhotos,
    owner: Annotated[Line, Form()] = "",
    flat: Annotated[Line, Form()] = "",
    contact: Annotated[Line, Form()] = "",
    plate: Annotated[Line, Form()] = "",
    note: Annotated[Text, Form()] = "",
    tags: Annotated[Line, Form(description="Short words such as EV, with a comma between two.")] = "",
    owner_id: Annotated[int | None, Form(ge=1, le=2**31 - 1, description="An owner who is enrolled.")] = None,
) -> EnrolledAnswer:
    """Enrol a vehicle. The answer names others that may be the same one, for a person to look at."""
    vehicle_photos = await uploaded.vehicle_photos(service)
    about: dict[str, Any] = {
        "owner": owner,
        "flat": flat,
        "contact": contact,
        "plate": plate,
        "note": note,
        "tags": tags,
    }
    given = service.identification, vehicle_photos, user.name, owner_id
    number, alike = await service.with_network(enrol_photos, *given, **about)
    made = VehicleAnswer.of(await service.aside(service.identification.register.vehicle, number))
    return EnrolledAnswer(**dict(made), looks_like=[AlikeAnswer.of(row) for row in alike])


@router.get("/vehicles/{vehicle}")
async def vehicle(user: Guard, service: Service, vehicle: Id) -> VehicleAnswer:
    """One vehicle with its images; the trail says who saw it. A guard sees those that an answer showed."""
    return VehicleAnswer.of(await service.aside(security.look_at, service.identification, vehicle, user), user.role)


@router.post("/vehicles/{vehicle}/views", status_code=201)
async def add_views(
    user: Manager,
    service: Service,
    vehicle: Id,
    uploaded: UploadedPhotos,
) -> VehicleAnswer:
    """Add photographs to a vehicle."""
    vehicle_photos = await uploaded.vehicle_photos(service)
    await service.with_network(service.identification.add_views, vehicle, vehicle_photos, account=user.name)
    return VehicleAnswer.of(await service.aside(service.identification.register.vehicle, vehicle))


@router.get("/vehicles/{vehicle}/owner")
async def owner(user: Manager, service: Service, vehicle: Id) -> OwnerAnswer:
    """The owner of a vehicle; the trail says who saw it."""
    found = await service.aside(service.identification.register.owner_of, vehicle, user.name)
    if found is None:
        raise NotEnrolledError(f"vehicle {vehicle} has no owner")
    return OwnerAnswer.of(found)


@router.delete("/vehicles/{vehicle}")
async def forget_vehicle(user: Manager, service: Service, vehicle: Id) -> ForgottenAnswer:
    """Delete a vehicle everywhere."""
    done = await service.aside(service.identification.register.forget, account=user.name, vehicle_id=vehicle)
    return ForgottenAnswer.model_validate(done, from_attributes=True)


@router.delete("/owners/{owner}")
async def forget_owner(user: Manager, service: Service, owner: Id) -> ForgottenAnswer:
    """Delete an owner with all vehicles everywhere."""
    done = await service.aside(service.identification.register.forget, account=user.name, owner_id=owner)
    return ForgottenAnswer.model_validate(done, from_attributes=True)


@router.get("/pictures/{name}", response_class=FileResponse)
async def picture(user: Guard, service: Service, name: ImageName) -> FileResponse:
    """An image of the register. A guard sees those of own identifications, and of vehicles that an answer showed."""
    path = await service.aside(security.image_path, service.identification, name, user)
    return FileResponse(path, media_type="image/jpeg")


@router.post("/sightings/{sighting}/confirmation")
async def confirm(user: Guard, service: Service, sighting: Id, given: NewConfirmation) -> ConfirmationAnswer:
    """Say whether an answer was right, or which vehicle it was; the last word counts. A guard says it of own
    identifications, and of vehicles that an answer showed."""
    said = sighting, Says(given.says), given.vehicle
    return ConfirmationAnswer.of(*await service.aside(security.confirm, service.identification, user, *said))


@router.get("/sightings/{sighting}/confirmation")
async def confirmation(user: Guard, service: Service, sighting: Id) -> ConfirmationAnswer:
    """What was said about an answer."""
    found = await service.aside(security.confirmation_of, service.identification, user, sighting)
    return ConfirmationAnswer.of(*found)


@router.delete("/sightings/{sighting}/confirmation")
async def withdraw(user: Guard, service: Service, sighting: Id) -> dict[str, int]:
    """Withdraw what was said about an answer."""
    await service.aside(security.withdraw, service.identification, user, sighting)
    return {"withdrawn": sighting}


@router.post("/incidents", status_code=201)
async def report_incident(user: Guard, service: Service, incident: NewIncident, key: Key = None) -> IncidentAnswer:
    """Report what a sighting shows; a guard reports what own identifications showed."""
    given = incident.sighting, incident.kind, incident.note, incident.vehicle
    if key is not None:
        number = await report_once(service, user, incident, key)
    else:
        number = await service.aside(security.report_incident, service.identification, user, *given)
    return IncidentAnswer.of(await service.aside(service.identification.journal.incident, number))


@router.post("/incidents/{incident}/close")
async def close_incident(user: Manager, service: Service, incident: Id) -> IncidentAnswer:
    """Mark an incident as dealt with."""
    await service.aside(service.identification.journal.close_incident, incident, user.name)
    return IncidentAnswer.of(await service.aside(service.identification.journal.incident, incident))


@router.get("/audit")
async def audit(user: Admin, service: Service, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[AuditAnswer]:
    """The audit trail, newest first."""
    del user
    return [AuditAnswer.of(row) for row in await service.aside(service.identification.journal.audit, limit)]


@router.get("/accounts")
async def accounts(user: Admin, service: Service) -> list[AccountAnswer]:
    """All accounts."""
    del user
    return [AccountAnswer.of(row) for row in await service.aside(service.accounts.all)]


@router.post("/accounts", status_code=201)
async def add_account(user: AdminInSession, service: Service, account: NewAccount) -> AccountAnswer:
    """Make an account; this needs a log-in with a password, not a token."""
    given = account.name, Role[account.role], account.password, user.name
    row = await service.passwords.run(f"account {user.name}", service.accounts.add, *given)
    return AccountAnswer.of(row)


@router.post("/accounts/{account}/disable")
async def disable_account(user: AdminInSession, service: Service, account: Id) -> AccountAnswer:
    """Take an account's rights away; its sessions and tokens end."""
    return AccountAnswer.of(await service.aside(service.accounts.change, account, user.name, disabled=True))


@router.post("/accounts/{account}/enable")
async def enable_account(user: AdminInSession, service: Service, account: Id) -> AccountAnswer:
    """Give an account its rights back."""
    return AccountAnswer.of(await service.aside(service.accounts.change, account, user.name, disabled=False))


@router.post("/tokens", status_code=201)
async def new_token(user: InSession, service: Service, token: NewToken) -> dict[str, str]:
    """A token for a program, with one's own rights. It is shown this once."""
    name = user.name
    return {"token": await service.aside(service.accounts.new_token, name, token.label, token.days, name)}


@router.get("/tokens")
async def tokens(user: Guard, service: Service) -> list[TokenAnswer]:
    """One's own tokens, for an admin those of all; their secrets are kept nowhere."""
    whose = None if user.role >= Role.admin else user.name
    return [TokenAnswer.of(row) for row in await service.aside(service.tokens.all, whose)]


@router.delete("/tokens/{token}")
async def revoke_token(user: InSession, service: Service, token: Id) -> dict[str, int]:
    """End a token of one's own, as an admin anybody's, at once. This needs a log-in with a password, not a token."""
    whose = None if user.role >= Role.admin else user.name
    await service.aside(service.tokens.revoke, token, user.name, whose)
    return {"revoked": token}


@router.get("/status")
async def status(user: Guard, service: Service) -> StatusAnswer:
    """Counts of the register, and its active model."""
    del user
    identification = service.identification
    model = await service.aside(identification.models.active)
    libraries = (
        {name: threshold.match for name, threshold in identification.models.thresholds(model).items()} if model else {}
    )
    counts = await service.aside(identification.register.counts)
    return StatusAnswer(model=model.digest if model else None, libraries=libraries, counts=counts)
