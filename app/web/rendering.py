"""Pages from their templates."""

import hashlib
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates

from app.register.accounts import Role, User, csrf_of, masked
from app.web.security import COOKIE
from app.web.static_files import static

_templates = Jinja2Templates(Path(__file__).parent / "templates")
_templates.env.globals["static"] = static


def page(request: Request, template: str, user: User | None, *, status: int = 200, **values: Any) -> Response:
    """A page for a user; None for nobody."""
    secret = request.cookies.get(COOKIE, "") if user else ""
    token = csrf_of(secret) if secret else ""
    mark = hashlib.sha256(token.encode()).hexdigest()[:16] if token else ""  # tells sessions apart, and opens nothing
    context = {"user": user, "Role": Role, "csrf": masked(token), "session": mark, **values}
    return _templates.TemplateResponse(request, template, context, status_code=status)
