"""Passwords in the service: one's own, changed on its page, and those of others, reset by an admin."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from app.register.accounts import SHORTEST_PASSWORD, LogInError
from app.register.tries import site_of
from app.web.answers import AccountAnswer
from app.web.api import Id, Service
from app.web.bodies import Given
from app.web.refusals import REFUSED
from app.web.rendering import page
from app.web.security import COOKIE, AdminInSession, InSession

router = APIRouter(responses=REFUSED)
Password = Annotated[str, StringConstraints(max_length=1024)]


class OwnPassword(Given):
    """A new password for one's own account."""

    old: Password
    new: Password


class NewPassword(Given):
    """A new password for another account."""

    password: Password


class ChangedAnswer(BaseModel):
    """A password that was changed."""

    account: str = Field(description="All its tokens, and all its sessions but this one, have ended.")


@router.put("/api/password")
async def change_password(user: InSession, service: Service, request: Request, given: OwnPassword) -> ChangedAnswer:
    """Change one's own password; this needs a log-in with a password, not a token. Tries count as log-ins."""
    address = request.client.host if request.client else ""
    about = user.name, given.old, given.new, address, request.cookies.get(COOKIE, "")
    try:
        await service.passwords.run(site_of(address), service.accounts.change_own_password, *about)
    except LogInError as error:  # not 401: the session goes on
        raise HTTPException(403, str(error)) from error
    return ChangedAnswer(account=user.name)


@router.post("/api/accounts/{account}/password")
async def reset_password(user: AdminInSession, service: Service, account: Id, given: NewPassword) -> AccountAnswer:
    """Set another account's password; its sessions and tokens end."""
    rows = await service.aside(service.accounts.all)
    if any(row.id == account and row.name == user.name for row in rows):
        raise HTTPException(403, "your own password is changed on its page, with the old one")
    change = service.accounts.change_password
    row = await service.passwords.run(f"account {user.name}", change, account, user.name, given.password)
    return AccountAnswer.of(row)


@router.get("/password", include_in_schema=False)
async def password_page(request: Request, user: InSession) -> Response:
    return page(request, "password.html", user, shortest=SHORTEST_PASSWORD)
