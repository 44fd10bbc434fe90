"""Distance of a recognised text from a plate: look-alike characters cost little, one real error is allowed."""

LOOK_ALIKES = ("0ODQ", "1IL", "2Z", "4A", "5S", "6G", "7T", "8B", "UV", "MNHW")
"""Characters that are taken for one another. Chosen by their shapes, not measured: closed rounds, single strokes, and
pairs that differ by a serif, a gap or the angle of a stroke. Each character stands in one group, so that every text has
one form in which look-alikes are equal."""
LOOK_ALIKE_COST, ERROR_COST = 0.25, 1.0
MOST_COST = 1.5
"""An error and two look-alikes, or six look-alikes. Less than two errors: there is at most one."""
_LEAST_WITH_ERROR = 4  # characters read: of fewer, one error leaves too little
_FORM = str.maketrans({other: group[0] for group in LOOK_ALIKES for other in group[1:]})


def form(text: str) -> str:
    """A text in which look-alikes are one character; as long as before."""
    return text.translate(_FORM)


def cost(read: str, plate: str) -> float | None:
    """Cheapest way from one text to the other: `LOOK_ALIKE_COST` for each look-alike, and `ERROR_COST` for at most one
    character that is missing, too many or another one. None if there is no such way, or none up to `MOST_COST`.

    Both texts in `models.alphabet.plain` form."""
    if len(read) == len(plate):
        errors = sum(a != b for a, b in zip(form(read), form(plate), strict=True))
        alike = _differing(read, plate) - errors
    else:
        shorter, longer = sorted((read, plate), key=len)
        rests = [longer[:place] + longer[place + 1 :] for place in range(len(longer))]
        errors, alike = 1, min((_differing(rest, shorter) for rest in rests if form(rest) == form(shorter)), default=-1)
        if alike < 0:
            return None
    if errors and len(read) < _LEAST_WITH_ERROR:
        return None
    total = errors * ERROR_COST + alike * LOOK_ALIKE_COST
    return total if total <= MOST_COST else None


def _differing(first: str, second: str) -> int:
    return sum(a != b for a, b in zip(first, second, strict=True))
