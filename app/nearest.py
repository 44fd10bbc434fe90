"""The known word that a mistyped one is nearest to, for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like `word`, whatever the case of either; None if none is."""
    by_lower = {name.casefold().replace("-", "_").replace(" ", "_"): name for name in known if name}
    found = get_close_matches(word.strip().casefold().replace("-", "_").replace(" ", "_"), by_lower, n=1, cutoff=0.7)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean train.epochs?", to be put behind what is wrong; nothing if no known word is like it."""
    found = nearest(word, known)
    return "" if found is None else f"; did you mean {found}?"
