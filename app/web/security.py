"""Security of the service: authentication, roles and what they may see, forged forms, limits of a request."""

import asyncio
import hmac
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.register.accounts import LogInError, Role, User, unmasked
from app.register.confirmations import Says
from app.register.errors import NotEnrolledError, RegisterError
from app.register.identification import Identification
from app.register.records import Also, nothing_else
from app.register.schema import Confirmation, Vehicle
from app.web.known import CSRF_FIELD
from app.web.state import State, state_of

COOKIE = "session"
CSRF_HEADER = "x-csrf-token"
_HARMLESS = ("GET", "HEAD", "OPTIONS")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Session of a browser.")
HSTS = "max-age=31536000"  # seconds: a browser that was here comes by TLS alone for a year
_bearer = HTTPBearer(auto_error=False, description="Token of a program: `Authorization: Bearer SECRET`.")

HEADERS = {
    # Images and scripts of this service alone; blob: is the photograph that somebody is about to send, data: are the
    # marks of forms that Pico CSS draws.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; worker-src 'self'; "
    "manifest-src 'self'; frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_BEARER = "bearer "
_IDLE_SECONDS = 5.0  # a client that sends nothing for so long is not waited for


async def who(
    request: Request,
    state: Annotated[State, Depends(state_of)],
    cookie: Annotated[str | None, Security(_cookie)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> User:
    """The user of a request. 401 for nobody; 403 for a session's request without the token of its forms."""
    try:
        if bearer is not None:
            return await state.aside(state.accounts.who, bearer.credentials, "token")
        user: User = await state.aside(state.accounts.who, cookie or "", "session")
    except LogInError as error:
        raise HTTPException(401, str(error), {"WWW-Authenticate": "Bearer"}) from error
    brought = unmasked(await _csrf(request)).encode() if request.method not in _HARMLESS else b""
    if request.method not in _HARMLESS and not hmac.compare_digest(brought, user.csrf.encode()):
        raise HTTPException(403, "this form is not of your session: load the page again")
    return user


async def _csrf(request: Request) -> str:
    if CSRF_HEADER in request.headers:
        return request.headers[CSRF_HEADER]
    if "form" not in request.headers.get("content-type", ""):
        return ""
    value = (await request.form()).get(CSRF_FIELD, "")
    return value if isinstance(value, str) else ""


async def in_session(user: Annotated[User, Depends(who)]) -> User:
    """The user of a browser's session; 403 for a token, which must not make others that outlive it."""
    if not user.csrf:
        raise HTTPException(403, "this needs a log-in with a password, not a token")
    return user


def needs(role: Role) -> Callable[[User], User]:
    """A dependency: the user, if they have this role or a higher one; otherwise 403."""

    def allowed(user: Annotated[User, Depends(who)]) -> User:
        if user.role < role:
            raise HTTPException(403, f"this needs the role {role.name}; yours is {user.role.name}")
        return user

    return allowed


InSession = Annotated[User, Depends(in_session)]
Guard = Annotated[User, Depends(needs(Role.guard))]
Manager = Annotated[User, Depends(needs(Role.manager))]
Admin = Annotated[User, Depends(needs(Role.admin))]


async def admin_in_session(user: Admin, _: InSession) -> User:
    """An admin who logged in with a password: a token that leaks must not make accounts that outlive it."""
    return user


AdminInSession = Annotated[User, Depends(admin_in_session)]


def look_at(identification: Identification, number: int, user: User) -> Vehicle:
    """A vehicle with its images; the trail says who saw it. Raises NotEnrolledError, for a guard also where no
    answer showed the vehicle."""
    if user.role < Role.manager:
        identification.visible.require_vehicle(number, user.name)
    return identification.register.look_at(number, user.name)


def image_path(identification: Identification, name: str, user: User) -> Path:
    """The file of an image. Raises NotEnrolledError, for a guard also where no answer showed it."""
    path = identification.photos.path(name)
    if not path.is_file() or (user.role < Role.manager and not identification.visible.has_image(name, user.name)):
        raise NotEnrolledError("there is no such image")
    return path


def report_incident(
    identification: Identification,
    user: User,
    sighting: int,
    kind: str,
    note: str,
    vehicle: int | None,
    also: Also = nothing_else,
) -> int:
    """Report what a sighting shows; number of the incident. Raises NotEnrolledError, for a guard also for a sighting of
    another account, and for a vehicle that no answer showed."""
    require_own(identification, user, sighting, vehicle)
    return identification.journal.report_incident(sighting, kind, note, user.name, vehicle, also)


def require_own(identification: Identification, user: User, sighting: int, vehicle: int | None = None) -> None:
    """Raise NotEnrolledError where a guard names a sighting of another account, or a vehicle that no answer showed."""
    if user.role < Role.manager:
        identification.visible.require_sighting(sighting, user.name)
        if vehicle is not None:
            identification.visible.require_vehicle(vehicle, user.name)


def confirm(
    identification: Identification, user: User, sighting: int, says: Says, vehicle: int | None
) -> tuple[Confirmation, bool | None]:
    """Keep what a person says about an answer, and whether it was right. Raises as `report_incident` does."""
    require_own(identification, user, sighting, vehicle)
    return identification.confirmations.confirm(sighting, says, user.name, vehicle)


def confirmation_of(identification: Identification, user: User, sighting: int) -> tuple[Confirmation, bool | None]:
    """What was said about an answer, and whether it was right. Raises as `report_incident` does."""
    require_own(identification, user, sighting)
    return identification.confirmations.of(sighting)


def withdraw(identification: Identification, user: User, sighting: int) -> None:
    """Withdraw what was said about an answer. Raises as `report_incident` does."""
    require_own(identification, user, sighting)
    identification.confirmations.withdraw(sighting, user.name)


def inside(to: str) -> str:
    """A path of this service; "/" for what leads elsewhere."""
    return to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"


class LimitBody:
    """Refuses a request whose body is too large with status 413, before or while it is read; one to the API that is too
    large for a stranger alone with 401.

    Args:
        most: bytes that somebody who is logged in may send.
        most_of_strangers: bytes of anybody else: enough for a log-in.
    """

    def __init__(self, app: ASGIApp, most: int, most_of_strangers: int) -> None:
        self.app = app
        self.most = most
        self.most_of_strangers = most_of_strangers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = _announced(scope)
        allowed = self.most_of_strangers
        if announced is None or announced > allowed:
            try:
                allowed = self.most if await _is_known(Request(scope)) else allowed
            except RegisterError as error:  # the database is away or busy, and nobody can be known
                after = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
                await _refuse(send, 503, scope["app"].state.register.told(error), after)
                return
        detail = f"the request is over {allowed} bytes"
        if announced is not None and announced > allowed:
            if announced <= self.most and scope["path"].startswith("/api/"):  # a session that ended, no file too large
                await _refuse(send, 401, "log in first", {"www-authenticate": "Bearer"})
                return
            await _refuse(send, 413, detail)
            return
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > allowed:
                raise HTTPException(413, detail)  # answered by the app, which is reading
            return message

        await self.app(scope, limited, send)


class ReadOut:
    """Reads what is left of a request after its answer, and drops it.

    A server that closes a connection with bytes unread resets it, and the client, still sending, never sees the answer.

    Args:
        most: bytes that are read; whoever sends more is cut off.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _announced(scope) == 0:
            await self.app(scope, receive, send)
            return
        ended = False

        async def watched() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def read_out() -> None:
            read = 0
            with suppress(TimeoutError):
                while not ended and read <= self.most:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        read += len((await watched()).get("body", b""))

        async def answered(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not last or ended:
                await send(message)
                return
            await send({**message, "more_body": True})  # the client has its answer before the rest is read
            await read_out()
            await send({"type": "http.response.body", "body": b""})

        await self.app(scope, watched, answered)


def _announced(scope: Scope) -> int | None:
    """Bytes that a request says its body has; None if it does not say."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None


async def _is_known(request: Request) -> bool:
    """Whether a session or a token comes with a request."""
    state = request.app.state.register
    header = request.headers.get("authorization", "")
    is_token = header.lower().startswith(_BEARER)
    secret = header[len(_BEARER) :] if is_token else request.cookies.get("session", "")
    if not secret or not isinstance(state, State):
        return False
    try:
        await state.aside(state.accounts.who, secret, "token" if is_token else "session")
    except LogInError:
        return False
    return True


async def _refuse(send: Send, status: int, detail: str, more: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **(more or {})}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
