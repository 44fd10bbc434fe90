"""Names of people and sites: letters that look alike, and what cannot be seen (after Unicode Technical Standard 39)."""

import unicodedata

# Joiners shape letters of Persian and of Indian scripts, and emoji; the signs are Arabic ones that can be seen.
_JOINERS = "\u200c\u200d"
_SEEN = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2" + _JOINERS
# Letters and marks by their category that fonts leave blank.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
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


def is_invisible(character: str) -> bool:
    """Whether a character is invisible or moves others: control and formatting characters, line
    separators, fillers, halves of surrogate pairs. A space is none of them."""
    if character in _SEEN:
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs") or character in _BLANK


def mixed_scripts(name: str) -> str:
    """Why a name's letters can be mistaken for others, such as "mixes letters of Latin and Greek"; "" if they can."""
    letters = [unicodedata.name(letter, "") for letter in unicodedata.normalize("NFKC", name) if letter.isalpha()]
    found = [script.title() for script in _ALIKE if any(script in name.split()[:2] for name in letters)]
    return f"mixes letters of {' and '.join(found)}, which look alike" if len(found) > 1 else ""


def look(name: str) -> str:
    """A text that is the same for names that look alike."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    visible = "".join(letter for letter in folded if not is_invisible(letter) and letter not in _SELECTORS)
    return " ".join(visible.translate(_LOOKS).split())
