"""Random texts: patterns, and words as on personalised plates."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np

T = TypeVar("T")

DIGITS = "0123456789"
ALL_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CLEAR_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # without I and O
_CONSONANTS = "BCDFGHJKLMNPRSTVWXZ"
_VOWELS = "AEIOUY"


def one_of(rng: np.random.Generator, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """One of the options, each as likely as its weight."""
    if weights is None:
        return options[int(rng.integers(len(options)))]
    mark = rng.random() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        mark -= weight
        if mark < 0:
            return option
    return options[-1]


def spelled(rng: np.random.Generator, pattern: str, letters: str = ALL_LETTERS) -> str:
    """The pattern with ? replaced by a letter, # by a digit and * by either; all else stays."""
    kinds = {"?": letters, "#": DIGITS, "*": letters + DIGITS}
    return "".join(one_of(rng, kinds[c]) if c in kinds else c for c in pattern)


def syllables(rng: np.random.Generator, count: int) -> str:
    """A pronounceable word, of two or three letters a syllable."""
    parts = []
    for _ in range(count):
        parts.append(one_of(rng, _CONSONANTS) + one_of(rng, _VOWELS))
        if rng.random() < 0.35:
            parts.append(one_of(rng, _CONSONANTS))
    return "".join(parts)


@lru_cache
def invented(number: int) -> str:
    """Two invented words, the same for the same number: towns and dealers."""
    rng = np.random.default_rng(number)
    return " ".join(syllables(rng, int(rng.integers(2, 4))) for _ in range(2))


def shade(rng: np.random.Generator, colour: tuple[int, int, int], spread: float = 12) -> tuple[int, int, int]:
    """A colour near another one."""
    r, g, b = (int(min(255, max(0, value + rng.normal(0, spread)))) for value in colour)
    return r, g, b
