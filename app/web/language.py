"""Languages of the pages: catalogues of messages, the language of a request, and the catalogue for the scripts."""

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from fastapi import Request

from app.web.sentences import WORDS, patterns

LANGUAGE_COOKIE = "language"
FOLDER = Path(__file__).parent / "locales"
_DOMAIN = "register"
_HEADER_LENGTH = 500  # characters of Accept-Language that are read


@dataclass(frozen=True)
class Language:
    """A language of the pages.

    Attributes:
        tag: as in `<html lang>`, in the cookie and in the account.
        name: in the language itself.
        locale: as the folder of the catalogue calls it.
        formats: the locale whose forms of dates it has.
    """

    tag: str
    name: str
    locale: str
    formats: str

    @property
    def translations(self) -> NullTranslations:
        """The messages of the language."""
        return _translations(self.locale)

    @property
    def script(self) -> str:
        """The path of the messages for the scripts; "" for the language in which they are written."""
        return f"/locales/{self.tag}-{_script_of(self.locale)[0]}.js" if self != ENGLISH else ""


ENGLISH = Language("en", "English", "en", "en_GB")
LANGUAGES = (ENGLISH, Language("zh-Hans", "中文", "zh_Hans_CN", "zh_Hans_CN"))


def language_by_tag(tag: str) -> Language | None:
    """The language of a tag; None for one without a catalogue."""
    return next((language for language in LANGUAGES if language.tag == tag), None)


def language_of(request: Request) -> Language:
    """The language of a page: that of the cookie, otherwise the first one of the browser that there is."""
    if (chosen := language_by_tag(request.cookies.get(LANGUAGE_COOKIE, ""))) is not None:
        return chosen
    return accepted(request.headers.get("accept-language", ""))


def script_of(name: str) -> str | None:
    """The script with the messages of a language, by its name in `Language.script`; None if there is none."""
    return next((_script_of(each.locale)[1] for each in LANGUAGES if each.script == f"/locales/{name}"), None)


def catalogue(locale: str) -> Catalog:
    """The catalogue as it lies in its file."""
    with (FOLDER / locale / "LC_MESSAGES" / f"{_DOMAIN}.po").open("rb") as file:
        return read_po(file, locale, _DOMAIN, abort_invalid=True)


def accepted(header: str) -> Language:
    """The language that a browser prefers, by the weights of its header; any Chinese is served in the one there is."""
    ranked = []
    for place, part in enumerate(header[:_HEADER_LENGTH].split(",")):
        tag, _, parameters = part.strip().lower().partition(";")
        try:
            weight = float(parameters.strip().removeprefix("q=") or 1) if parameters else 1.0
        except ValueError:
            continue
        known = next((each for each in LANGUAGES if each.tag.split("-")[0] == tag.split("-")[0]), None)
        if known is not None and 0 < weight <= 1:
            ranked.append((-weight, place, known))
    return min(ranked, key=lambda each: each[:2])[2] if ranked else ENGLISH


@cache
def _translations(locale: str) -> NullTranslations:
    if locale == ENGLISH.locale:
        return NullTranslations()
    file = io.BytesIO()
    write_mo(file, catalogue(locale))
    file.seek(0)
    return Translations(file, _DOMAIN)


@cache
def _script_of(locale: str) -> tuple[str, str]:
    """A short hash of the messages for the scripts, and their script."""
    if locale == ENGLISH.locale:
        return "", ""
    messages = dict[str, Any]()
    held = catalogue(locale)
    for message in held:
        if message.id and not all(file.endswith(".html") for file, _ in message.locations):
            one = message.id if isinstance(message.id, str) else message.id[0]
            messages[one] = message.string
    text = (
        f"globalThis.MESSAGES = {json.dumps(messages, ensure_ascii=False, sort_keys=True)};\n"
        f"globalThis.SENTENCES = {json.dumps(patterns())};\n"
        f"globalThis.WORDS = {json.dumps(sorted(WORDS))};\n"
        f"globalThis.pluralForm = (n) => Number({held.plural_expr});\n"
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16], text
