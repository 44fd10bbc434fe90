"""A plate read several times over: moved by a little, it falls otherwise on the grid of pixels, and errors differ.

A text is taken by its likelihood in all views (CTC, Graves et al., ICML 2006, equation 3), among those that one of them
reads; test-time augmentation, as Krizhevsky et al. (NIPS 2012, section 4.1) average over crops.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.ctc import MOST_LIKELY, Reading, read_frames, read_positions
from models.format_decoding import FormatPrior

Views = Literal[1, 3]
_DOWN, _RIGHT = 0.03, 0.01  # of the image's height and width


def views_of(images: Tensor, views: Views) -> Tensor:
    """Images (N, 3, H, W) uint8 as (views * N, 3, H, W): as they are; for 3 then all moved up and left, and all moved
    down and right, by 3 % of the height and 1 % of the width, with their outermost pixels repeated."""
    if views == 1:
        return images
    return torch.cat([images, _moved(images, -_RIGHT, -_DOWN), _moved(images, _RIGHT, _DOWN)])


def _moved(images: Tensor, right: float, down: float) -> Tensor:
    """The images (N, 3, H, W) with what they show moved by shares of their width and height."""
    place = torch.tensor([[1.0, 0.0, -2 * right], [0.0, 1.0, -2 * down]], device=images.device)
    grid = F.affine_grid(place.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return moved.round().clamp(0, 255).to(images.dtype)


def read_views(logits: Tensor, *, positions: bool, prior: FormatPrior | None = None) -> list[Reading]:
    """The text of each of N plates from the scores of its V views. Confidences are means over the views; geometric ones
    for positions.

    Args:
        logits: (V, N, T, A); A[0] is the blank of CTC or the end.
        positions: whether a place of T is a character of an attention decoder, and not a frame of CTC.
        prior: the formats of the plates' country, for CTC.
    """
    if positions:  # the same place is the same character in all views
        return read_positions(logits.float().log_softmax(dim=3).mean(dim=0))
    views, number = logits.shape[:2]
    readings = read_frames(logits.flatten(0, 1))
    if views == 1 and prior is None:
        return readings
    frames = logits.cpu().double().log_softmax(dim=3)
    if prior is not None:
        each = frames.flatten(0, 1).numpy()
        readings = [prior.read(*pair) for pair in zip(each, readings, strict=True)]
    return [_of_one(frames[:, place], readings[place::number], prior) for place in range(number)]


def _of_one(frames: Tensor, readings: Sequence[Reading], prior: FormatPrior | None) -> Reading:
    """The reading of one plate from the log probabilities (V, T, A) and the readings of its views."""
    texts = list(dict.fromkeys(tuple(reading.numbers) for reading in readings))
    if len(texts) == 1:
        return _pooled(readings, texts[0])
    scores = log_likelihoods(frames, texts).mean(dim=0)
    if prior is not None:
        scores += torch.tensor([0.0 if prior.has_format(text) else prior.free for text in texts], dtype=scores.dtype)
    return _pooled(readings, texts[int(scores.argmax())])


def log_likelihoods(frames: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
    """Natural logarithms of the probabilities (V, C) of C texts over all their paths through frames (V, T, A); -inf for
    a text that has no room in T frames.

    Args:
        frames: log probabilities of the characters, A[0] the blank.
    """
    views, length = frames.shape[:2]
    losses = F.ctc_loss(
        frames.transpose(0, 1).repeat_interleave(len(texts), dim=1),
        torch.tensor([number for text in texts for number in text] * views, dtype=torch.long),
        torch.tensor([length] * (views * len(texts))),
        torch.tensor([len(text) for text in texts] * views),
        reduction="none",
    )
    return -losses.view(views, len(texts))


def _pooled(readings: Sequence[Reading], text: Sequence[int]) -> Reading:
    """The text of some of the views, with the mean probabilities of its characters over all of them; 0 from a view that
    reads another number of characters.

    What a character may be instead is such a mean too. Where it has another character first, it is over the views with
    this text alone: what is combined with other photographs goes by the first one."""
    same = [reading for reading in readings if len(reading.numbers) == len(text)]
    agreed = [reading for reading in same if reading.numbers == list(text)]
    confidences, likely = list[float](), list[dict[int, float]]()
    for place, number in enumerate(text):
        pooled = _mean([reading.likely[place] for reading in same], len(readings))
        confidences.append(pooled.get(number, 0.0))
        if next(iter(pooled)) != number:
            pooled = _mean([reading.likely[place] for reading in agreed], len(readings))
        likely.append(pooled)
    return Reading(list(text), confidences, likely)


def _mean(shares: Sequence[dict[int, float]], count: int) -> dict[int, float]:
    """Mean probabilities of so many, of which others say nothing; likeliest first."""
    sums: dict[int, float] = {}
    for each in shares:
        for number, probability in each.items():
            sums[number] = sums.get(number, 0.0) + probability / count
    return dict(sorted(sums.items(), key=lambda item: -item[1])[:MOST_LIKELY])
