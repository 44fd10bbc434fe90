"""Texts from the frames of a network that learnt with CTC (Graves et al., ICML 2006)."""

from typing import NamedTuple

import torch
from torch import Tensor

MOST_LIKELY = 5
"""Characters that a reading keeps of each place."""


class Reading(NamedTuple):
    """What was read, the confidence of each character, and what it may be instead."""

    numbers: list[int]
    confidences: list[float]  # in [0, 1], one a character
    likely: list[dict[int, float]]  # probabilities of the likeliest numbers at each character; 0 is no character


def read_frames(logits: Tensor) -> list[Reading]:
    """The best path of each of N texts from logits (N, T, A), A[0] the blank: repeats joined, blanks left out.

    The confidence of a character is the highest probability that it has in its run of frames; what it may be instead is
    taken from that frame."""
    all_probabilities = torch.softmax(logits.float(), dim=2)
    probabilities, best = all_probabilities.max(dim=2)  # (N, T) each
    readings = []
    for row, numbers, frames in zip(probabilities.tolist(), best.tolist(), all_probabilities, strict=True):
        found: list[int] = []
        places: list[int] = []  # the frame of each
        before = 0
        for frame, (number, probability) in enumerate(zip(numbers, row, strict=True)):
            if number and number != before:
                found.append(number)
                places.append(frame)
            elif number and probability > row[places[-1]]:
                places[-1] = frame
            before = number
        readings.append(Reading(found, [row[place] for place in places], _likely(frames[places])))
    return readings


def read_positions(logits: Tensor) -> list[Reading]:
    """Texts of an attention decoder from logits (N, L, A), one position a character, up to the first A[0]."""
    all_probabilities = torch.softmax(logits.float(), dim=2)
    probabilities, best = all_probabilities.max(dim=2)
    readings = []
    for row, numbers, places in zip(probabilities.tolist(), best.tolist(), all_probabilities, strict=True):
        length = numbers.index(0) if 0 in numbers else len(numbers)
        readings.append(Reading(numbers[:length], row[:length], _likely(places[:length])))
    return readings


def _likely(frames: Tensor) -> list[dict[int, float]]:
    """The likeliest numbers of each frame (L, A) of probabilities, most likely first."""
    if not len(frames):
        return []
    highest, numbers = frames.topk(min(MOST_LIKELY, frames.shape[1]), dim=1)
    return [dict(zip(*pair, strict=True)) for pair in zip(numbers.tolist(), highest.tolist(), strict=True)]
