"""The choice of a language, and the messages for the scripts."""

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from app.register.account_languages import keep_language
from app.register.accounts import User
from app.web.api import Service
from app.web.language import LANGUAGE_COOKIE, language_by_tag, script_of
from app.web.security import COOKIE, inside, who
from app.web.state import State
from app.web.static_files import IMMUTABLE

router = APIRouter(include_in_schema=False)
_YEAR = 365 * 24 * 3600  # seconds


def set_language(response: Response, tag: str, *, secure: bool) -> None:
    """Keep a language in the browser that gets this answer."""
    response.set_cookie(LANGUAGE_COOKIE, tag, max_age=_YEAR, httponly=True, samesite="lax", secure=secure)


@router.post("/language")
async def choose_language(
    request: Request,
    service: Service,
    language: Annotated[str, Form(max_length=20)],
    to: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Keep the language of this browser's pages, and of the account if somebody is logged in."""
    if language_by_tag(language) is None:
        raise HTTPException(422, "there are no pages in this language")
    if (user := await _in_session(request, service)) is not None:
        await service.aside(keep_language, service.identification.database, user.name, language)
    response = RedirectResponse(inside(to), 303)
    set_language(response, language, secure=service.secure)
    return response


@router.get("/locales/{name}")
async def messages(name: str) -> Response:
    """The messages of a language for the scripts."""
    script = script_of(name)
    if script is None:
        raise HTTPException(404, "there are no such messages")
    return Response(script, media_type="text/javascript; charset=utf-8", headers={"Cache-Control": IMMUTABLE})


async def _in_session(request: Request, service: State) -> User | None:
    """Who is logged in and sends this form; None for nobody, and for a form that is not of the session."""
    try:
        return await who(request, service, request.cookies.get(COOKIE), None)
    except HTTPException:
        return None
