"""Rules for texts that a register keeps, the same for API, pages, command line and imports.

A line (a name, a flat, a plate) has at most 200 characters, a text (a note) at most 2,000 and may have line breaks and
tabs. White space around it is dropped.
"""

import unicodedata

from app.register.errors import RegisterError

LONGEST_LINE, LONGEST_TEXT = 200, 2000
# Joiners shape letters of Persian and of Indian scripts, and emoji; the signs are Arabic ones that can be seen.
_JOINERS = "\u200c\u200d"
_SEEN = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2" + _JOINERS
# Letters and marks by their category that no font draws.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"


class TextError(RegisterError):
    """A text that a register does not keep."""


def is_invisible(character: str) -> bool:
    """Whether nothing is drawn for a character, or it moves others: control and formatting characters, line
    separators, fillers, halves of surrogate pairs. A space is none of them."""
    if character in _SEEN:
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs") or character in _BLANK


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
