"""Health of the service, for supervisors and for pages that look for the line: no log-in, and no details."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.register.errors import RegisterError
from app.web.api import Service
from app.web.state import State

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> Response:
    """Whether the process lives: it answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(service: Service) -> Response:
    """Whether it can identify: 503 with the reason if the database does not answer or there is no network."""
    reason = await service.aside(reason_not_ready, service)
    if reason:
        return JSONResponse({"status": "not ready", "reason": reason}, 503, {"Retry-After": "10"})
    return JSONResponse({"status": "ready"})


def reason_not_ready(service: State) -> str:
    """Why the service cannot identify, without an address or a file; "" if it can."""
    try:
        model = service.identification.models.active()
    except RegisterError as error:
        service.told(error)  # logged, once a minute
        return "the database does not answer"
    if model is None:
        return "the register has no network"
    return "" if service.identification.active_model.is_loaded else "the network is not loaded yet"
