"""Tags of vehicles: short words such as "EV" or "disabled"."""

import re
from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from app.register.errors import RegisterError
from app.register.records import Also, get, nothing_else
from app.register.schema import Vehicle
from app.register.text_search import folded
from app.register.texts import line, line_fault

MOST_TAGS, LONGEST_TAG = 10, 30
_BETWEEN = re.compile(r"[,;]")


def split_tags(text: str) -> list[str]:
    """The tags of a text, with a comma or a semicolon between two."""
    return [tag for part in _BETWEEN.split(text) if (tag := part.strip())]


def checked_tags(given: Iterable[str]) -> list[str]:
    """Tags as they are kept, each once. Raises RegisterError for one that is too long or holds no letter or digit, and
    for too many."""
    kept: dict[str, str] = {}
    for tag in given:
        word = line("tag", tag)
        if not 1 <= len(word) <= LONGEST_TAG or not folded(word) or _BETWEEN.search(word):
            raise RegisterError(f"a tag is a word of at most {LONGEST_TAG} characters without comma, not {word[:60]!r}")
        kept.setdefault(folded(word), word)
    if len(kept) > MOST_TAGS:
        raise RegisterError(f"a vehicle has at most {MOST_TAGS} tags; these are {len(kept)}")
    return list(kept.values())


def tagged(given: Iterable[str], also: Also = nothing_else) -> Also:
    """Further rows of an enrolment: the tags of the vehicle, and what else is written. Raises as `checked_tags`."""
    tags = checked_tags(given)

    def write(session: Session, number: int) -> None:
        if tags:
            get(session, Vehicle, number).tags = tags
        also(session, number)

    return write


def tags_fault(text: str) -> str:
    """Why a cell of a table holds no tags; "" if it does."""
    if fault := line_fault(text):
        return fault
    try:
        checked_tags(split_tags(text))
    except RegisterError as error:
        return f"holds no tags: {error}"
    return ""


def joined(tags: Sequence[str]) -> str:
    """Tags in one cell."""
    return "; ".join(tags)
