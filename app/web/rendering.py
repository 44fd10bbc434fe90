"""Pages from their templates, in the language of the request."""

import hashlib
from datetime import tzinfo
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, select_autoescape

from app.register.accounts import Role, User, csrf_of, masked
from app.web.language import LANGUAGES, Language, language_of
from app.web.security import COOKIE
from app.web.sentences import subject, translated
from app.web.static_files import static
from app.web.times import local_day, local_time, zone_name

TEMPLATES = Path(__file__).parent / "templates"


def page(request: Request, template: str, user: User | None, *, status: int = 200, **values: Any) -> Response:
    """A page for a user; None for nobody."""
    secret = request.cookies.get(COOKIE, "") if user else ""
    token = csrf_of(secret) if secret else ""
    mark = hashlib.sha256(token.encode()).hexdigest()[:16] if token else ""  # tells sessions apart, and opens nothing
    language = language_of(request)
    others = [each for each in LANGUAGES if each != language]
    given: dict[str, Any] = {"user": user, "Role": Role, "csrf": masked(token), "session": mark}
    given |= {"language": language, "other_languages": others, "here": "/"}
    if request.method == "GET" and status == 200:
        given["here"] = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    zone = request.app.state.register.zone
    given["zone"] = zone_name(zone)
    return _templates(language, zone).TemplateResponse(request, template, {**given, **values}, status_code=status)


def environment() -> Environment:
    """The templates' environment, without the messages of a language."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), extensions=["jinja2.ext.i18n"]
    )
    made.policies["ext.i18n.trimmed"] = True
    made.filters |= dict.fromkeys(("translated", "subject", "local_time", "local_day"), str)
    made.globals["static"] = static
    return made


@cache
def _templates(language: Language, zone: tzinfo) -> Jinja2Templates:
    made = environment()
    made.install_gettext_translations(language.translations, newstyle=True)  # type: ignore[attr-defined]
    made.filters["translated"] = lambda text: translated(str(text), language.translations) if text else ""
    made.filters["subject"] = partial(subject, translations=language.translations)
    made.filters["local_time"] = partial(local_time, zone=zone, locale=language.formats)
    made.filters["local_day"] = partial(local_day, zone=zone, locale=language.formats)
    return Jinja2Templates(env=made)
