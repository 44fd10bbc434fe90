"""The service as one app: API, pages, limits, and the status of each refusal."""

import errno
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from app.core.printing import shown
from app.register.accounts import LogInError
from app.register.errors import (
    AnotherModelError,
    BoxError,
    BusyError,
    ChangedError,
    DuplicatePlateError,
    FullError,
    ImageRefusedError,
    ImageTooLargeError,
    NoModelError,
    NotEnrolledError,
    RegisterError,
    UnavailableError,
)
from app.register.sent_once import KeyReusedError
from app.register.tries import TooManyTriesError
from app.web import (
    api,
    corrections,
    health,
    installable,
    languages,
    lists,
    lists_pages,
    notes,
    own_account,
    pages,
    search,
    sightings,
    sightings_pages,
    static_files,
    thumbnails,
)
from app.web.compression import Compress
from app.web.known import known_only, unknown_in_body
from app.web.security import HEADERS, HSTS, LimitBody, ReadOut
from app.web.state import State

_log = logging.getLogger(__name__)
MOST_BYTES, MOST_BYTES_OF_STRANGERS = 128 * 2**20, 64 * 2**10
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotEnrolledError, 404),
    (DuplicatePlateError, 409),
    (ChangedError, 409),
    (AnotherModelError, 409),
    (BusyError, 503),
    (UnavailableError, 503),
    (FullError, 507),
    (TooManyTriesError, 429),
    (LogInError, 401),
    (NoModelError, 503),
    (RegisterError, 400),
    (BoxError, 422),
    (KeyReusedError, 422),
    (ImageTooLargeError, 413),
    (ImageRefusedError, 415),
)


class Service(FastAPI):
    """The app. Its answers arrive even if a request was not read to its end."""

    def build_middleware_stack(self) -> ASGIApp:
        return ReadOut(super().build_middleware_stack(), MOST_BYTES)


def create_app(make_state: Callable[[], State]) -> FastAPI:
    """The service over a register that is opened when the service starts, and closed when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.register = state = make_state()
        try:
            yield
        finally:
            state.close()

    app = Service(
        title="fed-vehicle-reid register",
        summary="Whose vehicle is this?",
        openapi_url=None,  # pages.py has it, since FastAPI's own route takes any parameter
        docs_url=None,  # FastAPI's pages come from outside addresses; pages.py has one of our own
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(known_only)],  # of every operation and page
    )
    app.add_middleware(Compress)
    app.add_middleware(LimitBody, most=MOST_BYTES, most_of_strangers=MOST_BYTES_OF_STRANGERS)

    @app.middleware("http")
    async def guard_answers(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        began, status = time.perf_counter(), 500  # of an error that nobody expected
        try:
            response = await answer(request)
            status = response.status_code
        finally:
            if (observer := request.app.state.register.observer) is not None:
                route = request.scope.get("route")
                operation = f"{request.method} {route.path}" if isinstance(route, APIRoute) else "other"
                observer.request(operation, status, time.perf_counter() - began)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.app.state.register.secure:
            response.headers["Strict-Transport-Security"] = HSTS
        return response

    for kind, status in _STATUS:
        app.add_exception_handler(kind, _handler(status))
    app.add_exception_handler(OSError, _files)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    of_api = (api, corrections, lists, own_account, search, thumbnails, sightings, notes)
    of_pages = (pages, sightings_pages, lists_pages, languages, installable, static_files)
    for part in (*of_api, *of_pages, health):
        app.include_router(part.router)
    return app


def _handler(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        detail = request.app.state.register.told(error)
        return _answer(request, status, detail, pages.retry_after(error))

    return handle


async def _files(request: Request, error: Exception) -> Response:
    """A full disk, or a file or folder that cannot be used; an error that names no file is a bug."""
    assert isinstance(error, OSError)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _answer(request, 507, "the disk is full; nothing was changed")
    if not isinstance(error.filename, str) and error.errno not in (errno.EROFS, errno.EACCES, errno.EIO):
        raise error
    _log.error("%s", error)  # the whole path is for the operator
    folder = request.app.state.register.identification.folder
    path = Path(error.filename) if isinstance(error.filename, str) else folder
    place = path.relative_to(folder) if path.is_relative_to(folder) and path != folder else Path(path.name)
    detail = f"a file of the service cannot be used: {place}: {error.strerror}; ask the operator"
    return _answer(request, 503, detail, {"Retry-After": "60"})


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 401 and pages.wants_page(request):
        return pages.to_log_in(request)
    return _answer(request, error.status_code, str(error.detail), error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    detail = unknown_in_body(request, error.errors()) or (f"{where}: {first['msg']}" if where else str(first["msg"]))
    return _answer(request, 422, detail)


def _answer(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    detail = shown(detail)  # it may hold the name of an upload, and clients write it to their logs
    if pages.wants_page(request):
        page = pages.error_page(request, status, detail)
        page.headers.update(headers or {})
        return page
    return JSONResponse({"detail": detail}, status, headers)
