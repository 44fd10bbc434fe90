"""Rules for texts that a register keeps, the same for API, pages, command line and imports.

A line (a name, a flat, a plate) has at most 200 characters, a text (a note) at most 2,000 and may have line breaks and
tabs. White space around it is dropped.

Names of accounts that look alike are compared after Unicode Technical Standard 39.
"""

import unicodedata
from collections.abc import Iterable

from app.register.errors import RegisterError
from models.names import is_invisible, look, mixed_scripts

LONGEST_LINE, LONGEST_TEXT = 200, 2000
_LONGEST_NAME = 64


class TextError(RegisterError):
    """A text that a register does not keep."""


def trimmed(text: str) -> str:
    """A text as it is kept: line ends of Windows as `\\n`, without white space around it."""
    return text.replace("\r\n", "\n").strip()


def line_fault(text: str) -> str:
    """Why a text cannot be kept as a line; "" if it can."""
    return _fault(trimmed(text), LONGEST_LINE, "")


def text_fault(text: str) -> str:
    """Why a text cannot be kept as one of several lines; "" if it can."""
    return _fault(trimmed(text), LONGEST_TEXT, "\t\n")


def line(what: str, text: str) -> str:
    """A line as it is kept. Raises TextError naming `what` and the fault."""
    if fault := line_fault(text):
        raise TextError(f"{what} {fault}")
    return trimmed(text)


def paragraph(what: str, text: str) -> str:
    """A text of several lines as it is kept. Raises TextError naming `what` and the fault."""
    if fault := text_fault(text):
        raise TextError(f"{what} {fault}")
    return trimmed(text)


def _fault(text: str, longest: int, allowed: str) -> str:
    if len(text) > longest:
        return f"has {len(text):,} characters; the most is {longest:,}"
    found = next((index for index, each in enumerate(text) if each not in allowed and is_invisible(each)), None)
    if found is None:
        return ""
    code, name = f"U+{ord(text[found]):04X}", unicodedata.name(text[found], "")
    named = f"{code}, {name.lower()}" if name else code
    return f"holds a character that is not allowed ({named}) at place {found + 1}; take it out"


def checked_name(name: str, held: Iterable[str]) -> str:
    """A name for a new account, without spaces around it. Raises RegisterError for one that holds what no name may,
    letters of scripts that look alike, or that looks like one of those that are `held`."""
    name = name.strip()
    # Names with brackets are those of the command line; one with control characters would forge lines of the trail.
    hidden = not name.isprintable() or any(map(is_invisible, name))
    if not 1 <= len(name) <= _LONGEST_NAME or "(" in unicodedata.normalize("NFKC", name) or hidden:
        raise RegisterError(
            f"an account needs a name of at most {_LONGEST_NAME} letters, without brackets and control characters"
        )
    if fault := mixed_scripts(name):
        raise RegisterError(f"the name {name!r} {fault}; use one")
    looks = look(name)
    for other in held:
        if other == name:
            raise RegisterError(f"there is an account {name!r} already")
        if look(other) == looks:
            raise RegisterError(f"the name {name!r} looks like that of the account {other!r}; choose another")
    return name
