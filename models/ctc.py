"""Texts from the frames of a network that learnt with CTC (Graves et al., ICML 2006)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Reading(NamedTuple):
    """What was read, and the confidence of each character."""

    numbers: list[int]
    confidences: list[float]  # in [0, 1], one a character


def read_frames(logits: Tensor) -> list[Reading]:
    """The best path of each of N texts from logits (N, T, A), A[0] the blank: repeats joined, blanks left out.

    The confidence of a character is the highest probability that it has in its run of frames."""
    probabilities, best = torch.softmax(logits.float(), dim=2).max(dim=2)  # (N, T) each
    readings = []
    for row, numbers in zip(probabilities.tolist(), best.tolist(), strict=True):
        found: list[int] = []
        sure: list[float] = []
        before = 0
        for number, probability in zip(numbers, row, strict=True):
            if number and number != before:
                found.append(number)
                sure.append(probability)
            elif number:
                sure[-1] = max(sure[-1], probability)
            before = number
        readings.append(Reading(found, sure))
    return readings


def read_positions(logits: Tensor) -> list[Reading]:
    """Texts of an attention decoder from logits (N, L, A), one position a character, up to the first A[0]."""
    probabilities, best = torch.softmax(logits.float(), dim=2).max(dim=2)
    readings = []
    for row, numbers in zip(probabilities.tolist(), best.tolist(), strict=True):
        length = numbers.index(0) if 0 in numbers else len(numbers)
        readings.append(Reading(numbers[:length], row[:length]))
    return readings
