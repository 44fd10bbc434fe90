"""Cells of a table that spreadsheets take for text."""

import unicodedata

from models.names import is_invisible

_SIGNS = "=+-@\u2212"
_BREAKS = "\t\r\n"  # some programs begin a new cell after one


def quoted(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet would take it for a formula. `unquoted` undoes it."""
    return f"'{text}" if _is_formula(text) else text


def unquoted(text: str) -> str:
    """The text that `quoted` was given."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Whether the first character that can be seen, apart from apostrophes, is a sign of a formula.

    Programs drop white space and invisible characters before it; the wide forms count in some languages."""
    for character in text.rstrip():  # what stands at the end of a cell is dropped when it is read
        if character in _BREAKS or unicodedata.normalize("NFKC", character)[0] in _SIGNS:
            return True
        stands_alone = unicodedata.category(character) not in ("Cf", "Mn", "Me")  # joiners and marks are not
        if stands_alone and character != "'" and not character.isspace() and not is_invisible(character):
            return False
    return False
