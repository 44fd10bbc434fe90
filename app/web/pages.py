"""The web pages: for a guard with a phone, a manager, an admin. They need no outside address."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from pydantic import StringConstraints

from app.core.run_folder import RunFolder
from app.register.account_languages import language_of_account
from app.register.accounts import LogInError, Role
from app.register.calibrate import read_report
from app.register.confirmations import answered
from app.register.errors import BusyError, NotEnrolledError, RegisterError, UnavailableError
from app.register.history import week_ago
from app.register.schema import Model
from app.register.texts import LONGEST_LINE
from app.register.tries import TooManyTriesError, site_of
from app.web import corrections, figures
from app.web.api import After, Id, Service
from app.web.languages import set_language
from app.web.rendering import page as _page
from app.web.security import COOKIE, Admin, Guard, Manager, inside, look_at
from app.web.state import State

router = APIRouter(include_in_schema=False)
_SHOWN = 50
OwnerId = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
_CURVES = ("loss.png", "measures.png")
_LOG_IN_STATUS: dict[type[RegisterError], int] = {TooManyTriesError: 429, BusyError: 503, LogInError: 401}


def wants_page(request: Request) -> bool:
    """Whether a browser requests a page; programs and scripts request data."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def error_page(request: Request, status: int, detail: str) -> Response:
    """The error, in one line."""
    return _page(request, "error.html", None, status=status, detail=detail)


def retry_after(error: Exception) -> dict[str, str]:
    """The header Retry-After, for errors with a time."""
    seconds = error.retry_after if isinstance(error, RegisterError) else None
    return {} if seconds is None else {"Retry-After": str(seconds)}


def to_log_in(request: Request) -> Response:
    """Redirect to the log-in page, and from there to the requested page."""
    return RedirectResponse(f"/login?to={request.url.path}", 303)


@router.get("/login")
async def login_page(request: Request, to: str = "/") -> Response:
    return _page(request, "login.html", None, to=inside(to))


@router.post("/login")
async def log_in(
    request: Request,
    service: Service,
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_LINE), Form()],
    password: Annotated[str, Form(max_length=1024)],
    to: Annotated[str, Form()] = "/",
) -> Response:
    address = request.client.host if request.client else ""
    try:
        secret = await service.passwords.run(site_of(address), service.accounts.log_in, name, password, address)
    except (LogInError, TooManyTriesError, BusyError) as error:
        status = next((status for kind, status in _LOG_IN_STATUS.items() if isinstance(error, kind)), 401)
        page = _page(request, "login.html", None, status=status, to=inside(to), detail=str(error))
        page.headers.update(retry_after(error))
        return page
    response = RedirectResponse(inside(to), 303)
    response.set_cookie(COOKIE, secret, max_age=12 * 3600, httponly=True, samesite="strict", secure=service.secure)
    chosen = await service.aside(language_of_account, service.identification.database, name)
    if chosen is not None:
        set_language(response, chosen, secure=service.secure)
    return response


@router.post("/logout")
async def log_out(request: Request, user: Guard, service: Service) -> Response:
    del user
    await service.aside(service.accounts.log_out, request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


@router.get("/")
async def identify_page(request: Request, user: Guard) -> Response:
    return _page(request, "identify.html", user)


@router.get("/register")
async def register_page(request: Request, user: Manager, service: Service, after: After = 0) -> Response:
    rows = await service.aside(service.identification.register.vehicles, after, _SHOWN)
    counts = await service.aside(service.identification.register.counts)
    more = rows[-1].id if len(rows) == _SHOWN else None
    return _page(request, "register.html", user, vehicles=rows, counts=counts, more=more)


@router.get("/enrol")
async def enrol_page(request: Request, user: Manager, owner: OwnerId = None) -> Response:
    return _page(request, "enrol.html", user, owner=owner)


@router.get("/vehicles/{vehicle}")
async def vehicle_page(request: Request, user: Guard, service: Service, vehicle: Id) -> Response:
    row = await service.aside(look_at, service.identification, vehicle, user)
    seen = await service.aside(service.identification.history.times_seen, vehicle, week_ago())
    known = await corrections.on_page(service, row, user)
    return _page(request, "vehicle.html", user, vehicle=row, seen=seen, **known)


@router.get("/calibration")
async def calibration_page(request: Request, user: Manager, service: Service) -> Response:
    return _page(request, "calibration.html", user, **await service.aside(_calibration, service))


@router.get("/calibration/{library}.png")
async def calibration_image(user: Manager, service: Service, library: str) -> FileResponse:
    del user
    _, folder, report, damaged = await service.aside(_report, service)
    if damaged:
        raise UnavailableError(damaged)
    if folder is None or "false_match_rate" not in report.get("libraries", {}).get(library, {}):
        raise NotEnrolledError("this library was not calibrated")
    if not (path := folder / f"{library}.png").is_file():
        raise UnavailableError(f"{path.name} is missing: calibrate again")
    return FileResponse(path)


@router.get("/federation")
async def federation_page(request: Request, user: Manager, service: Service) -> Response:
    return _page(request, "federation.html", user, **await service.aside(_federation, service))


@router.get("/federation/{name}")
async def federation_image(user: Manager, service: Service, name: str) -> FileResponse:
    del user
    if service.run is None or name not in _CURVES or not (service.run / name).is_file():
        raise NotEnrolledError("there is no such image")
    return FileResponse(service.run / name)


@router.get("/accounts")
async def accounts_page(request: Request, user: Admin, service: Service) -> Response:
    rows = await service.aside(service.accounts.all)
    lines = await service.aside(service.identification.journal.audit, _SHOWN)
    return _page(request, "accounts.html", user, accounts=rows, audit=lines, roles=list(Role))


@router.get("/tokens")
async def tokens_page(request: Request, user: Guard, service: Service) -> Response:
    whose = None if user.role >= Role.admin else user.name
    return _page(request, "tokens.html", user, tokens=await service.aside(service.tokens.all, whose))


@router.get("/api")
async def api_page(request: Request, user: Guard) -> Response:
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in request.app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    return _page(request, "api.html", user, operations=operations)


@router.get("/api/openapi.json")
async def description(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


def _report(service: State) -> tuple[Model | None, Path | None, dict[str, Any], str]:
    """The active model, the folder of its calibration, the report there, and a line if that is damaged."""
    identification = service.identification
    model = identification.models.active()
    if model is None:
        return None, None, {}, ""
    folder = identification.folder / "calibration" / model.digest
    try:
        return model, folder, read_report(folder) or {}, ""
    except (ValueError, OSError) as error:
        return model, folder, {}, f"The report cannot be read: {_below(identification.folder, error)}"


def _calibration(service: State) -> dict[str, Any]:
    """The report of the active model's calibration, and its thresholds."""
    identification = service.identification
    model, _, report, damaged = _report(service)
    if model is None:
        return {"model": None}
    evidence = report.get("evidence") or {}
    latest = figures.latest_evidence(report)
    vehicles = identification.size()
    rows = identification.confirmations.all(whole=False)
    since = datetime.fromisoformat(evidence["calibrated"]) if evidence.get("calibrated") else model.created
    curve = None
    if latest.get("curve"):
        curve = figures.curve(latest["curve"], (latest["strangers_named"]["share"], latest["residents_right"]["share"]))
    if latest.get("vehicles") and not 1 / figures.CHANGED < figures.growth(latest, vehicles) < figures.CHANGED:
        service.figures.begin()
    return {
        "model": model,
        "thresholds": identification.models.thresholds(model),
        "report": report,
        "damaged": damaged,
        "decides": identification.models.decides(),
        "calibrated": model.evidence is not None,
        "growth": figures.growth(evidence, vehicles),
        "latest": latest,
        "renewing": service.figures.is_running,
        "curve": curve,
        "answered": answered(rows, since),
        "confirmations": len(rows),
        "rendered": identification.active_model.is_of_rendered_vehicles(),
    }


def _federation(service: State) -> dict[str, Any]:
    """Rounds and curves of the run whose folder the service was given."""
    if service.run is None or not service.run.is_dir():
        return {"run": None, "lines": [], "curves": [], "damaged": ""}
    lines, damaged = list[dict[str, Any]](), ""
    try:
        lines = RunFolder.existing(service.run).read_rounds()
    except (ValueError, OSError) as error:
        damaged = f"The rounds cannot be read: {_below(service.run, error)}"
    curves = [name for name in _CURVES if (service.run / name).is_file()]
    return {"run": service.run.name, "lines": lines[::-1][:_SHOWN], "curves": curves, "damaged": damaged}


def _below(folder: Path, error: Exception) -> str:
    """The error about a file, by its path in the folder: where the folder is stays on this machine."""
    return str(error).replace(f"{folder}/", "")
