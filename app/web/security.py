"""Authentication and authorisation: sessions of browsers, tokens of programs, roles, forged forms."""

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from app.register.accounts import LogInError, Role, User
from app.web.known import CSRF_FIELD
from app.web.state import State, state_of

COOKIE = "session"
CSRF_HEADER = "x-csrf-token"
_HARMLESS = ("GET", "HEAD", "OPTIONS")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Session of a browser.")
HSTS = "max-age=31536000"  # seconds: a browser that was here comes by TLS alone for a year
_bearer = HTTPBearer(auto_error=False, description="Token of a program: `Authorization: Bearer SECRET`.")

HEADERS = {
    # Pictures and scripts of this service alone; blob: is the photograph that somebody is about to send.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


async def who(
    request: Request,
    state: Annotated[State, Depends(state_of)],
    cookie: Annotated[str | None, Security(_cookie)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> User:
    """Who asks. 401 for nobody; 403 for a session's request that does not bring what its forms hold."""
    try:
        if bearer is not None:
            return await state.aside(state.accounts.who, bearer.credentials, "token")
        user: User = await state.aside(state.accounts.who, cookie or "", "session")
    except LogInError as error:
        raise HTTPException(401, str(error), {"WWW-Authenticate": "Bearer"}) from error
    brought = (await _csrf(request)).encode() if request.method not in _HARMLESS else b""
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
