"""Most similar known word to a mistyped one, for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most similar to `word`, ignoring case; None if none is similar."""
    by_lower = {name.casefold().replace("-", "_").replace(" ", "_"): name for name in known if name}
    lower = word.strip().casefold().replace("-", "_").replace(" ", "_")
    found = get_close_matches(lower, by_lower, n=1, cutoff=0.7)
    longer = [name for name in by_lower if len(lower) > 2 and name.startswith(lower)]  # noise for noise_multiplier
    return by_lower[(found or longer)[0]] if found or len(longer) == 1 else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean train.epochs?", to append to an error; "" if no known word is similar."""
    found = nearest(word, known)
    return "" if found is None else f"; did you mean {found}?"
