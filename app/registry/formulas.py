"""Cells of a table that a spreadsheet would compute: text for it, and the same text again when it is read."""

import re

_BEGINS = r"\s*[=+\-@＝＋－＠]|[\t\r\n]"  # the wide forms count as well in some languages
_FORMULA = re.compile(rf"'*(?:{_BEGINS})")
_QUOTED = re.compile(rf"'+(?:{_BEGINS})")


def quoted(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet would take it for a formula. `unquoted` undoes it."""
    return f"'{text}" if _FORMULA.match(text) else text


def unquoted(text: str) -> str:
    """The text that `quoted` was given."""
    return text[1:] if _QUOTED.match(text) else text
