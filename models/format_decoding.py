"""Texts of a country from the frames of CTC: the best path among those of its formats, against the best of all.

A text without a format is taken if it is 1 / `Country.free` times as likely as every text with one: the network has
learnt how texts look, and only the country is news to it. Paths are searched by the algorithm of Viterbi; see Graves et
al. (ICML 2006) for the states of a text: a blank before, between and after its characters.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.alphabet import Alphabet
from models.ctc import MOST_LIKELY, Reading
from models.plate_formats import COUNTRIES

Floats = NDArray[np.float64]


class FormatPrior:
    """The formats of one country over an alphabet.

    Args:
        country: of `COUNTRIES`. Raises ValueError for another one.
    """

    def __init__(self, country: str, alphabet: Alphabet) -> None:
        if country not in COUNTRIES:
            raise ValueError(f"unknown country {country!r}; known: {', '.join(COUNTRIES)}")
        formats, free = COUNTRIES[country]
        self.free = math.log(free)
        classes = sorted({allowed for places in formats for allowed in places})
        number_of = {allowed: number for number, allowed in enumerate(classes, start=1)}
        # Numbers of the characters of each class; class 0 is the blank.
        self.classes = [np.zeros(1, np.int64), *(np.array(alphabet.encode(allowed)) for allowed in classes)]
        self.lengths = np.array([len(places) for places in formats])
        self.states = np.zeros((len(formats), 2 * int(self.lengths.max()) + 1), np.int64)  # (P, S), of classes
        for row, places in enumerate(formats):
            self.states[row, 1 : 2 * len(places) : 2] = [number_of[allowed] for allowed in places]
        self._before = np.zeros_like(self.states)  # of the state two before, the character before
        self._before[:, 2:] = self.states[:, :-2]

    def read(self, log_probabilities: Floats, free: Reading) -> Reading:
        """The text with a format, or the one that was read without formats where that is the better one.

        Args:
            log_probabilities: (T, A), of the characters of each frame, A[0] the blank.
            free: the best path of all.
        """
        path = self.best(log_probabilities)
        ahead = path.score - float(log_probabilities.max(axis=1).sum()) - self.free
        if ahead < 0 or [character.number for character in path.characters] == free.numbers:
            return free
        return self._reading(log_probabilities, path, 1 / (1 + math.exp(-ahead)))

    def has_format(self, numbers: Sequence[int]) -> bool:
        """Whether a text has one of the formats."""
        for row in np.flatnonzero(self.lengths == len(numbers)):
            places = self.states[row, 1 : 2 * len(numbers) : 2]
            if all(number in self.classes[place] for number, place in zip(numbers, places, strict=True)):
                return True
        return False

    def best(self, log_probabilities: Floats) -> "Path":
        """The best path of all formats, with the score -inf if no format has room in the frames.

        While formats are compared, a run of frames may have another character in each; frames of a network that
        learnt with CTC are too sharp for that to matter."""
        each = [log_probabilities[:, members] for members in self.classes]
        emitted = np.stack([values.max(axis=1) for values in each], axis=1)  # (T, C)
        best = np.stack([m[v.argmax(axis=1)] for m, v in zip(self.classes, each, strict=True)], axis=1)  # (T, C)
        skips = (self.states > 0) & (self._before > 0)
        score = np.full(self.states.shape, -np.inf)
        score[:, :2] = emitted[0][self.states[:, :2]]
        steps = np.zeros((len(emitted), *self.states.shape), np.int8)
        for frame in range(1, len(emitted)):
            ways = np.full((3, *score.shape), -np.inf)
            ways[0] = score
            ways[1, :, 1:] = score[:, :-1]
            ways[2, :, 2:] = score[:, :-2]
            # Two equal characters need a blank between them.
            ways[2][~skips | (best[frame][self.states] == best[frame - 1][self._before])] = -np.inf
            steps[frame] = ways.argmax(axis=0)
            score = ways.max(axis=0) + emitted[frame][self.states]
        rows, ends = np.arange(len(score)), 2 * self.lengths
        last = np.where(score[rows, ends] >= score[rows, ends - 1], ends, ends - 1)
        totals = score[rows, last]
        row = int(totals.argmax())
        if not np.isfinite(totals[row]):
            return Path(-math.inf, row, [])
        return self._path(log_probabilities, steps[:, row], row, int(last[row]))

    def _path(self, log_probabilities: Floats, steps: NDArray[np.int8], row: int, state: int) -> "Path":
        """The path that ends in `state`, one character in each run of frames: the likeliest of its place."""
        frames: dict[int, list[int]] = {}
        score = 0.0
        for frame in range(len(steps) - 1, -1, -1):
            if state % 2:
                frames.setdefault(state, []).append(frame)
            else:
                score += float(log_probabilities[frame, 0])
            state -= int(steps[frame, state])
        found = []
        for place in sorted(frames):
            members = self.classes[self.states[row, place]]
            sums = log_probabilities[frames[place]][:, members].sum(axis=0)
            number = int(members[sums.argmax()])
            score += float(sums.max())
            found.append(Character(number, max(frames[place], key=lambda frame: log_probabilities[frame, number])))
        return Path(score, row, found)

    def _reading(self, log_probabilities: Floats, path: "Path", trust: float) -> Reading:
        """The path as a reading; a character has its probability among those of its place, times `trust`."""
        confidences, likely = [], []
        for place, (number, frame) in enumerate(path.characters):
            members = np.append(self.classes[self.states[path.row, 2 * place + 1]], 0)
            shares = np.exp(log_probabilities[frame, members])
            shares *= trust / shares.sum()
            by_number = dict(zip(members.tolist(), shares.tolist(), strict=True))
            confidences.append(by_number[number])
            likely.append(dict(sorted(by_number.items(), key=lambda item: -item[1])[:MOST_LIKELY]))
        return Reading([number for number, _ in path.characters], confidences, likely)


class Character(NamedTuple):
    """Number of a character, and the frame of its highest probability."""

    number: int
    frame: int


class Path(NamedTuple):
    """Log probability, row of the format, and characters of a path."""

    score: float
    row: int
    characters: list[Character]
