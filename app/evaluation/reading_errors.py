"""Errors of a plate reader, measured on plates whose texts are known, and what a reading says of a registered plate.

A character that was read stands for a true character t with the probability P(t | read, confidence). By Bayes' rule the
likelihood ratio of t against any character is P(t | read, confidence) / P(t). Characters are taken as independent;
readings with a character too many or too few are summed over all alignments (the forward algorithm, as in
Durbin et al., "Biological Sequence Analysis", 1998, section 4.2).
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PrivateAttr

from app.evaluation.errors import EvaluationError
from app.evaluation.likelihood import Line, fit_line
from app.evaluation.plate_texts import PlateReading
from models.alphabet import CHARACTERS

TWIN = math.exp(-12.0)
"""Probability that a stranger has exactly the plate that was read: one of 160,000. An exact text is therefore worth 12
nats at most, and one with another character than a registered plate must be made good by the look of the vehicle."""
_CERTAIN = 14.0  # log odds; measurements on thousands of characters show no more
_NARROW = 1e-6  # confidences of 0 and 1 have no finite log odds
_SMOOTHING = 5.0
"""Readings of a character that count as if they had been any character's: few errors measured must not rule out
others."""


class ReadingErrors(BaseModel):
    """Measured errors of a reader.

    Args:
        right: log odds that a character was read rightly, of the log odds of its confidence.
        confused: of each character that was read wrongly, how often it stood for which.
        characters: true characters and how often they came, of all plates.
        missing, additional: shares of true characters that nothing was read for, and of read characters that stand for
            none.
        plates: plates that were measured.
        unrelated: share of plates whose reading has nothing to do with them: covered, blurred or cut off. Faults of one
            plate come together, and a character model alone would take such a reading for proof of another plate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    right: Line
    confused: dict[str, dict[str, NonNegativeInt]]
    characters: dict[str, NonNegativeInt]
    missing: float = Field(gt=0, lt=1)
    additional: float = Field(gt=0, lt=1)
    plates: NonNegativeInt
    unrelated: float = Field(default=0.0, ge=0, lt=1)
    _chance: dict[str, float] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any) -> None:
        del context
        total = sum(self.characters.values()) + len(CHARACTERS)
        # Each character of the alphabet once more than it came: none is impossible.
        self._chance.update({c: (self.characters.get(c, 0) + 1) / total for c in CHARACTERS})

    def chance(self, true: str) -> float:
        """P(t) among the plates that were measured."""
        found = self._chance.get(true)
        return min(self._chance.values()) if found is None else found

    def meant(self, true: str, read: str, confidence: float) -> float:
        """P(t | read, confidence)."""
        odds = min(max(float(self.right.llr(_log_odds(confidence))), -_CERTAIN), _CERTAIN)
        if true == read:
            return 1 / (1 + math.exp(-odds))
        wrong = 1 / (1 + math.exp(odds))
        counts = self.confused.get(read, {})
        other = self.chance(true) / (1 - self.chance(read))
        return wrong * (counts.get(true, 0) + _SMOOTHING * other) / (sum(counts.values()) + _SMOOTHING)

    def llr(self, reading: PlateReading, plate: str) -> float:
        """ln p(reading | this plate) / p(reading | the plate of a stranger), in nats.

        A stranger has any plate, or with the probability `TWIN` the very plate that was read: plates of one place,
        fleet or household differ by a character or two, and are not as independent as `any_plate_llr` takes them.

        Args:
            plate: in `models.alphabet.plain` form, not empty.
        """
        return self.llrs(reading, [plate])[0]

    def llrs(self, reading: PlateReading, plates: Sequence[str]) -> list[float]:
        """`llr` of several plates."""
        ratios: list[dict[str, float]] = [{} for _ in reading.text]
        own = self.any_plate_llr(reading, reading.text, ratios) if reading.text else 0.0
        stranger = float(np.logaddexp(0.0, math.log(TWIN) + own))
        related = [math.log1p(-self.unrelated) + self.any_plate_llr(reading, plate, ratios) for plate in plates]
        if self.unrelated:  # as likely as from a stranger: such a reading says no more against a plate than their share
            least = math.log(self.unrelated) + stranger
            related = [float(np.logaddexp(value, least)) for value in related]
        return [value - stranger for value in related]

    def any_plate_llr(
        self, reading: PlateReading, plate: str, ratios: Sequence[dict[str, float]] | None = None
    ) -> float:
        """ln p(reading | this plate) / p(reading | any plate): characters as frequent as in the plates measured.

        Args:
            ratios: kept from plate to plate of one reading: ln P(t | read, confidence) / P(t) of each character read.
        """
        ratios = [{} for _ in reading.text] if ratios is None else ratios
        length = len(plate)
        kept = math.log1p(-self.missing) + math.log1p(-self.additional)
        missing, additional = math.log(self.missing), math.log(self.additional)
        row = [missing * place for place in range(length + 1)]
        for read, confidence, of_read in zip(reading.text, reading.confidences, ratios, strict=True):
            for true in set(plate) - of_read.keys():
                of_read[true] = math.log(self.meant(true, read, confidence) / self.chance(true))
            above, row = row, [row[0] + additional]
            # Plain numbers: arrays of three values take ten times as long.
            for place, true in enumerate(plate, start=1):
                ways = (above[place - 1] + kept + of_read[true], above[place] + additional, row[place - 1] + missing)
                most = max(ways)
                row.append(most + math.log(sum(math.exp(way - most) for way in ways)))
        return row[-1]


def measure_errors(pairs: Sequence[tuple[PlateReading, str]]) -> ReadingErrors:
    """The errors of a reader over (reading, true text) pairs, texts in `models.alphabet.plain` form.

    Readings that any plate explains as well as their own count as `unrelated`, the others for the errors of characters.

    Raises EvaluationError without a character."""
    first = _errors_of_characters(pairs)
    related = [(reading, true) for reading, true in pairs if not true or first.any_plate_llr(reading, true) >= 0]
    found = first
    if len(related) < len(pairs) and any(true for _, true in related):
        found = _errors_of_characters(related)
    # One more of each kind: no share is 0 or 1.
    lost = (len(pairs) - len(related) + 1) / (len(pairs) + 2)
    return found.model_copy(update={"unrelated": lost, "plates": len(pairs)})


def _errors_of_characters(pairs: Sequence[tuple[PlateReading, str]]) -> ReadingErrors:
    right, wrong = list[float](), list[float]()
    confused: dict[str, Counter[str]] = {}
    characters: Counter[str] = Counter()
    missing = additional = read_characters = 0
    for reading, true in pairs:
        characters.update(true)
        read_characters += len(reading.text)
        for read, meant in align(reading.text, true):
            if read is None:
                missing += 1
            elif meant is None:
                additional += 1
            else:
                odds = _log_odds(reading.confidences[read])
                (right if reading.text[read] == true[meant] else wrong).append(odds)
                if reading.text[read] != true[meant]:
                    confused.setdefault(reading.text[read], Counter())[true[meant]] += 1
    if not characters:
        raise EvaluationError("there is no plate with a text to measure a reader's errors on")
    return ReadingErrors(
        right=_odds_of_right(right, wrong),
        confused={read: dict(counts) for read, counts in confused.items()},
        characters=dict(characters),
        missing=(missing + 1) / (characters.total() + 2),
        additional=(additional + 1) / (read_characters + 2),
        plates=len(pairs),
    )


UNMEASURED = ReadingErrors(right=Line(1.0, 0.0), confused={}, characters={}, missing=0.01, additional=0.01, plates=0)
"""For a reader whose errors were not measured: its confidences are taken as probabilities, a wrong character may stand
for any other, and one in a hundred is missing or one too many."""


class Pair(NamedTuple):
    """Places of a read and a true character that belong together; None where one has no counterpart."""

    read: int | None
    true: int | None


def align(read: str, true: str) -> list[Pair]:
    """A cheapest alignment of two texts, by their edit distance; replacements before gaps."""
    table = np.zeros((len(read) + 1, len(true) + 1), int)
    table[:, 0], table[0, :] = range(len(read) + 1), range(len(true) + 1)
    for i, one in enumerate(read, start=1):
        for j, other in enumerate(true, start=1):
            table[i, j] = min(table[i - 1, j - 1] + (one != other), table[i - 1, j] + 1, table[i, j - 1] + 1)
    found, i, j = list[Pair](), len(read), len(true)
    while i or j:
        if i and j and table[i, j] == table[i - 1, j - 1] + (read[i - 1] != true[j - 1]):
            i, j = i - 1, j - 1
            found.append(Pair(i, j))
        elif i and table[i, j] == table[i - 1, j] + 1:
            i -= 1
            found.append(Pair(i, None))
        else:
            j -= 1
            found.append(Pair(None, j))
    return found[::-1]


def _odds_of_right(right: Sequence[float], wrong: Sequence[float]) -> Line:
    """Log odds that a character is right: a line of its confidence; a constant where too few errors were seen."""
    share = math.log((len(right) + 1) / (len(wrong) + 1))
    if min(len(right), len(wrong)) < 2:
        return Line(0.0, share)
    line = fit_line(np.array(right), np.array(wrong))
    return Line(line.slope, line.offset + share)


def _log_odds(confidence: float) -> float:
    kept = min(max(confidence, _NARROW), 1 - _NARROW)
    return math.log(kept / (1 - kept))
