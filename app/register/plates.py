"""Registration numbers as people write them."""

import unicodedata

from app.register.errors import RegisterError

_LONGEST = 16


def normal_plate(text: str) -> str:
    """Capital letters and digits alone: "ab 12-c" and "AB12C" are one plate.

    Raises RegisterError if nothing or too much is left."""
    normal = "".join(letter for letter in unicodedata.normalize("NFKC", text).upper() if letter.isalnum())
    if not 1 <= len(normal) <= _LONGEST:
        raise RegisterError(f"not a plate: {text!r}")
    return normal
