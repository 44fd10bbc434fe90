"""Pages from their templates."""

from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates

from app.register.accounts import Role, User, csrf_of
from app.web.security import COOKIE

_templates = Jinja2Templates(Path(__file__).parent / "templates")


def page(request: Request, template: str, user: User | None, *, status: int = 200, **values: Any) -> Response:
    """A page for a user; None for nobody."""
    secret = request.cookies.get(COOKIE, "")
    context = {"user": user, "Role": Role, "csrf": csrf_of(secret) if user and secret else "", **values}
    return _templates.TemplateResponse(request, template, context, status_code=status)
