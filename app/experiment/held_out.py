"""Vehicles that one client keeps out of its own training, to choose its personal model by."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from app.core.sample import Sample
from app.data.dataset import Source
from app.data.holdout import holdout
from app.data.readers.reader import Direction
from app.experiment.training_alone import client_seed
from app.settings.load import Settings
from app.settings.personalise import PersonaliseSettings

_NAMED = 8


class HeldOut(NamedTuple):
    """A client's images for training, and those to choose by.

    Args:
        directions: empty if there are none to choose by.
        source: of the images in `directions`, or the reason why there are none, for the report.
    """

    samples: list[Sample]
    directions: list[Direction]
    source: str = ""


def hold_out(
    settings: Settings, source: Source, samples: Sequence[Sample], validation: Sequence[Direction], name: str
) -> HeldOut:
    """The client's part of `data.val_split` to choose by; without such a split `personalise.holdout` of its training
    vehicles, the same ones whenever the client asks. Nothing is held out without personal models, nor if it would be
    fewer than `personalise.least` vehicles, or leave fewer than two for training.

    Args:
        validation: the client's directions of `data.val_split`.
        name: of the client.
    """
    options, split = settings.personalise, settings.data.val_split
    if not options.enabled:
        return HeldOut(list(samples), [])
    if split:
        return HeldOut(list(samples), list(validation), f"split {split}")
    vehicles = len({sample.pid for sample in samples})
    if not (count := _kept_out(options, vehicles)):
        reason = (
            f"{options.holdout:.0%} of its {vehicles} training vehicles are too few to choose by "
            "(personalise.holdout, personalise.least)"
        )
        return HeldOut(list(samples), [], reason)
    kept, held = holdout(samples, options.holdout, client_seed(settings, name))
    return HeldOut(kept, source.directions_of(held), f"{count} training vehicles kept out of training")


def chosen_by(settings: Settings, source: Source, overrides: str = "") -> str:
    """What the clients of a simulation choose their personal models by, and which of them have too few for it; without
    personal models, that overrides of theirs have no effect, or nothing if there are none."""
    options, split = settings.personalise, settings.data.val_split
    if not options.enabled:
        unused = any(word.lstrip("+~").startswith("personalise.") for word in shlex.split(overrides))
        return "personalise.* has no effect: personalise=on makes personal models" if unused else ""
    parts = source.parts(settings.federation.num_clients)
    if split:  # also of sites that do not take part
        asked = source.evaluation_parts(split, len(parts))[: len(parts)]
        counts = [len({sample.pid for each in directions for sample in each.query}) for directions in asked]
    else:
        counts = [_kept_out(options, len({sample.pid for sample in samples})) for samples in parts]
    few = [f"client-{number}" for number, count in enumerate(counts) if count < options.least]
    images = f"vehicles of the split {split}" if split else f"{options.holdout:.0%} of the client's training vehicles"
    said = f"personal models are chosen by {images}, {options.least} at least (personalise.least)"
    if not few:
        return said
    more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    return f"{said}; with fewer these keep the global model: {', '.join(few[:_NAMED])}{more}"


def _kept_out(options: PersonaliseSettings, vehicles: int) -> int:
    """How many of a client's vehicles are kept out of its training; 0 if there would be too few of either."""
    count = round(options.holdout * vehicles)
    return 0 if count < options.least or vehicles - count < 2 else count
