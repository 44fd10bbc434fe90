"""The choice of a language, and the messages for the scripts."""

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from app.web.language import LANGUAGE_COOKIE, language_by_tag, script_of
from app.web.security import inside
from app.web.static_files import IMMUTABLE

router = APIRouter(include_in_schema=False)
_YEAR = 365 * 24 * 3600  # seconds


@router.post("/language")
async def choose_language(
    request: Request, language: Annotated[str, Form(max_length=20)], to: Annotated[str, Form(max_length=2000)] = "/"
) -> Response:
    """Keep the language of this browser's pages. It needs no log-in, and changes nothing else."""
    if language_by_tag(language) is None:
        raise HTTPException(422, "there are no pages in this language")
    response = RedirectResponse(inside(to), 303)
    secure = request.app.state.register.secure
    response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR, httponly=True, samesite="lax", secure=secure)
    return response


@router.get("/locales/{name}")
async def messages(name: str) -> Response:
    """The messages of a language for the scripts."""
    script = script_of(name)
    if script is None:
        raise HTTPException(404, "there are no such messages")
    return Response(script, media_type="text/javascript; charset=utf-8", headers={"Cache-Control": IMMUTABLE})
