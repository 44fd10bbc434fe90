"""Decision whether one client's images are equalised at all."""

import logging
from collections.abc import Sequence

import numpy as np

from app.core.sample import Sample
from app.data.sampler import groups_of, target_count
from app.settings.equalise import EqualiseSettings

_log = logging.getLogger("flwr")


def needs_embeddings(samples: Sequence[Sample], options: EqualiseSettings) -> bool:
    """Whether these images are filled or suspects are left out. With `target=auto` their counts decide on the first,
    and the log has the decision."""
    if options.target != "auto" or not options.fill or not samples:
        return options.on
    counts = np.bincount(groups_of(samples))
    fills = target_count(counts, options) is not None
    _log.info(
        "data.equalise.target=auto: %d vehicles with %.1f images each, %.0f %% of them with a single one: %s",
        len(counts),
        counts.mean(),
        100 * (counts == 1).mean(),
        "filled to two" if fills else "no image is added",
    )
    return fills or options.suspects == "leave_out"
