"""Bounds on the effect of one client's claims about itself.

A server sees neither the images nor the model, so it cannot check a claim; it can bound the effect of one.
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from strategies.messages import FEATURE_SHIFT, MessageError

MAX_EXAMPLES = 10**8
"""Images of one client, at most: more than a camera takes in its lifetime."""
CAPPED_FROM = 3
"""Clients from which on shares are capped: of two, one outweighs the other unless they are equal."""
_MAX_MEASURES, _MAX_NAME, _LARGEST = 64, 64, 1e12
_SHARE = re.compile(r"mAP|mINP|rank\d{1,3}|accuracy(_\d\d)?|kept_\d\d|confidence_\d\d")
_NOT_NEGATIVE = re.compile(r"queries|skipped|character_error_rate")
_OF_A_MODEL = re.compile(r"global_(?:(?:vehicle|plate|fused|rerank)_)?(?P<measure>\w+)", re.ASCII)
_LOSS = re.compile(r"loss_[a-z0-9_]+")
_OF_TRAINING = re.compile(r"seconds_[a-z_]+|pictures|steps|bad_pictures|lr|dp_epsilon")


def largest_share(max_share: float, num_clients: int) -> float:
    """The largest share of a cohort of `num_clients`: `max_share`, or an equal share where that is more."""
    return max(max_share, 1.0 / num_clients) if num_clients >= CAPPED_FROM else 1.0


def capped(examples: Sequence[int], max_share: float) -> list[float]:
    """Capped numbers of images, so that no client has more than `largest_share` of their sum.

    Claims within the limit stay. One beyond it becomes c with c = s (c + all others), and the excess goes to the others
    in proportion to their claims."""
    limit = largest_share(max_share, len(examples))
    order = sorted(range(len(examples)), key=lambda index: -examples[index])
    for beyond in range(len(examples)):
        rest = sum(examples[index] for index in order[beyond:])
        # With `beyond` clients at the limit the others share 1 - beyond * limit; the largest of them must be within it.
        left = 1.0 - beyond * limit
        if examples[order[beyond]] * left <= limit * rest:
            at_limit = limit * rest / left if beyond else 0.0
            return [at_limit if index in order[:beyond] else float(count) for index, count in enumerate(examples)]
    return [1.0] * len(examples)  # not reached: the last client has what is left, which is within an equal share


def typical(values: Iterable[float]) -> float:
    """The median over clients: one that lies moves it no further than to the next honest value; of two, their mean."""
    return statistics.median(values)


def mean_measures(measured: Mapping[str, tuple[int, Mapping[str, float]]], max_share: float) -> dict[str, float]:
    """Mean of each measure over the clients that have it, weighted by their examples as far as they count.

    Args:
        measured: client -> its examples and measures.
    """
    names = sorted({name for _, measures in measured.values() for name in measures})
    means = {}
    for name in names:
        rows = [(count, measures[name]) for _, (count, measures) in sorted(measured.items()) if name in measures]
        weights = capped([count for count, _ in rows], max_share)
        means[name] = float(np.average([value for _, value in rows], weights=weights))
    return means


def checked_measures(measures: Mapping[str, object], task_measures: Sequence[str] = ()) -> dict[str, float]:
    """The measures of a reply as floats.

    Args:
        task_measures: shares of one that the task measures, beside those of the tasks that come with the program.

    Raises MessageError naming a measure that is unknown, not a number, not finite or outside its range."""
    if len(measures) > _MAX_MEASURES:
        raise MessageError(f"{len(measures)} measures, at most {_MAX_MEASURES} are taken")
    found = {}
    for name, value in measures.items():
        if len(name) > _MAX_NAME or (limits := _range(name, task_measures)) is None:
            raise MessageError(f"unknown measure {name[:_MAX_NAME]!r}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MessageError(f"measure {name} is not a number")
        low, high = limits
        if not low <= value <= high:  # also where it is not a number
            raise MessageError(f"measure {name} is {float(value):g}, outside {low:g} to {high:g}")
        found[name] = float(value)
    return found


def _range(name: str, task_measures: Sequence[str]) -> tuple[float, float] | None:
    """Smallest and largest value of a measure; None for an unknown one."""
    if match := _OF_A_MODEL.fullmatch(name):
        measure = match["measure"]
        if _NOT_NEGATIVE.fullmatch(measure):
            return 0.0, _LARGEST
        return (0.0, 1.0) if _SHARE.fullmatch(measure) or measure in task_measures else None
    if name == FEATURE_SHIFT:
        return 0.0, 1.0
    if _LOSS.fullmatch(name):
        return -_LARGEST, _LARGEST
    return (0.0, _LARGEST) if _OF_TRAINING.fullmatch(name) else None
