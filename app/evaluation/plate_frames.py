"""One text from several photographs of a plate, character by character, by the probabilities of each reading.

Readings are aligned one after the other with the places found so far, the one of highest confidence first (as ROVER
does: Fiscus, ASRU 1997, but with probabilities in place of votes). The probability of a character at a place is the
mean of what the readings give it (the sum rule; Kittler et al., TPAMI 1998): one blurred photograph cannot rule out
what the others show, as it could in a product. Equal readings are together as confident as alone: photographs of one
plate share their faults.
"""

import math
from collections.abc import Mapping, Sequence

from app.evaluation.plate_texts import PlateReading
from models.alphabet import edit_distance
from models.ctc import MOST_LIKELY

NONE = ""
"""No character at a place."""
UNLISTED = 1e-3
"""Probability of a character that a reading does not list at a place."""
ABSENT, APPEARING = 0.5, 0.02
"""Probabilities of no character, and of each character, at a place where a reading has none: a character that another
reading has with confidence is rather missing here than made up there."""
_ANOTHER = 0.5  # share of the characters from which on a reading is of another plate

Shares = Mapping[str, float]
"""Probabilities of the characters at a place of one reading; empty where it has none."""


def combined(readings: Sequence[PlateReading]) -> PlateReading | None:
    """The text of all readings together; None for fewer than two that can be combined.

    Readings without a text do not count, nor do those of another plate: with more than half of the characters other
    than those of the most confident reading."""
    ordered = sorted((r for r in readings if r.text), key=lambda r: (-r.confidence, r.text))
    kept = [r for r in ordered if edit_distance(r.text, ordered[0].text) <= _ANOTHER * len(ordered[0].text)]
    if len(kept) < 2:
        return None
    places: list[list[Shares]] = [[each] for each in shares_of(kept[0])]
    for number, reading in enumerate(kept[1:], start=1):
        places = _aligned(places, shares_of(reading), number)
    text, confidences, likely = list[str](), list[float](), list[Shares]()
    for place in places:
        pooled = pool(place)
        best = max(pooled, key=lambda character: pooled[character])
        if best != NONE:
            text.append(best)
            confidences.append(pooled[best])
            likely.append(dict(sorted(pooled.items(), key=lambda item: -item[1])[:MOST_LIKELY]))
    return PlateReading("".join(text), tuple(confidences), tuple(likely))


def shares_of(reading: PlateReading) -> list[Shares]:
    """What each place of a reading may be; the character itself alone where its alternatives are not known."""
    if reading.likely:
        return list(reading.likely)
    return [{each: sure} for each, sure in zip(reading.text, reading.confidences, strict=True)]


def share(shares: Shares, character: str) -> float:
    """The probability of a character, or of none, at a place of one reading."""
    if not shares:
        return ABSENT if character == NONE else APPEARING
    return max(shares.get(character, 0.0), UNLISTED)


def pool(place: Sequence[Shares]) -> dict[str, float]:
    """Probabilities at a place by all readings: their means, scaled to sum to 1."""
    characters = dict.fromkeys([NONE, *(character for shares in place for character in shares)])
    sums = {character: sum(share(shares, character) for shares in place) for character in characters}
    total = sum(sums.values())
    return {character: each / total for character, each in sums.items()}


def similarity(pooled: Shares, shares: Shares) -> float:
    """Log probability that both are the same character, or none."""
    characters = dict.fromkeys([*pooled, *shares])
    return math.log(sum(max(pooled.get(c, 0.0), UNLISTED**2) * share(shares, c) for c in characters))


def _aligned(places: list[list[Shares]], shares: list[Shares], number: int) -> list[list[Shares]]:
    """The places with one more reading, by the alignment of most similarity; `number` readings are in them."""
    pooled = [pool(place) for place in places]
    absent = pool([{}] * number)
    gone = [similarity(each, {}) for each in pooled]  # the reading has no character there
    new = [similarity(absent, each) for each in shares]  # it has one where the others have none
    table = [[-math.inf] * (len(shares) + 1) for _ in range(len(places) + 1)]
    table[0][0] = 0.0
    ways: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(len(places) + 1):
        for j in range(len(shares) + 1):
            for di, dj in ((1, 1), (1, 0), (0, 1)):
                if i < di or j < dj:
                    continue
                cost = similarity(pooled[i - 1], shares[j - 1]) if di and dj else gone[i - 1] if di else new[j - 1]
                if table[i - di][j - dj] + cost > table[i][j]:
                    table[i][j], ways[i, j] = table[i - di][j - dj] + cost, (di, dj)
    found: list[list[Shares]] = []
    i, j = len(places), len(shares)
    while i or j:
        di, dj = ways[i, j]
        before = places[i - 1] if di else [{}] * number
        found.append([*before, shares[j - 1] if dj else {}])
        i, j = i - di, j - dj
    return found[::-1]
