"""Rules for texts that a register keeps, the same for API, pages, command line and imports.

A line (a name, a flat, a plate) has at most 200 characters, a text (a note) at most 2,000 and may have line breaks and
tabs. White space around it is dropped.

Names of accounts that look alike are compared after Unicode Technical Standard 39.
"""

import unicodedata
from collections.abc import Iterable

from app.register.errors import RegisterError

LONGEST_LINE, LONGEST_TEXT = 200, 2000
# Joiners shape letters of Persian and of Indian scripts, and emoji; the signs are Arabic ones that can be seen.
_JOINERS = "\u200c\u200d"
_SEEN = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2" + _JOINERS
# Letters and marks by their category that fonts leave blank.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
_LONGEST_NAME = 64
# Scripts with letters that look like those of another one in the list.
_ALIKE = ("LATIN", "CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE", "LISU")
_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))  # of another form of the letter before
_LOOKS = str.maketrans(
    # Cyrillic, in small letters and in those that a capital looks like
    "\u0430\u0432\u0435\u0437\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b"
    "\u051d\u04cf"
    # Greek
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03f2\u03f3"
    # Latin: script, dotless and small capitals
    "\u0251\u0261\u0131\u0237\u0269\u1d00\u0299\u1d04\u1d05\u1d07\ua730\u0262\u029c\u026a\u1d0a\u1d0b\u029f\u1d0d\u0274"
    "\u1d0f\u1d18\u0280\ua731\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22"
    # what is one line, and what is one ring, in many fonts
    "1i|0",
    "abe3kmhopctyxslj" + "hdqwl" + "abeznlkmvoptuxcj" + "agljlabcdefghljklmnoprstuvwyz" + "lllo",
)


class TextError(RegisterError):
    """A text that a register does not keep."""


def is_invisible(character: str) -> bool:
    """Whether a character is invisible or moves others: control and formatting characters, line
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


def checked_name(name: str, held: Iterable[str]) -> str:
    """A name for a new account, without spaces around it. Raises RegisterError for one that holds what no name may,
    letters of scripts that look alike, or that looks like one of those that are `held`."""
    name = name.strip()
    normal = unicodedata.normalize("NFKC", name)
    # Names with brackets are those of the command line; one with control characters would forge lines of the trail.
    hidden = not name.isprintable() or any(map(is_invisible, name))
    if not 1 <= len(name) <= _LONGEST_NAME or "(" in normal or hidden:
        raise RegisterError(
            f"an account needs a name of at most {_LONGEST_NAME} letters, without brackets and control characters"
        )
    if len(found := scripts(normal)) > 1:
        raise RegisterError(f"the name {name!r} mixes letters of {' and '.join(found)}, which look alike; use one")
    looks = look(name)
    for other in held:
        if other == name:
            raise RegisterError(f"there is an account {name!r} already")
        if look(other) == looks:
            raise RegisterError(f"the name {name!r} looks like that of the account {other!r}; choose another")
    return name


def scripts(text: str) -> list[str]:
    """Scripts of a text's letters, such as "Latin", among those with letters that look alike."""
    letters = [unicodedata.name(letter, "") for letter in text if letter.isalpha()]
    return [script.title() for script in _ALIKE if any(script in name.split()[:2] for name in letters)]


def look(name: str) -> str:
    """A text that is the same for names that look alike."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    visible = "".join(letter for letter in folded if not is_invisible(letter) and letter not in _SELECTORS)
    return " ".join(visible.translate(_LOOKS).split())
