"""Batches of equalised data: no vehicle shows more pictures in a pass than the target, and none is forgotten."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.sample import Sample
from app.data.sampler import BalancedBatches
from app.equalise.rules import groups_of, split_groups, target_count
from app.settings.equalise import EqualiseSettings


class EqualisedBatches:
    """As `BalancedBatches`, which orders each pass, over a part of the pictures that changes from pass to pass.

    Of a group with more than `at_most` pictures, pass i shows those in places i * at_most to (i + 1) * at_most - 1 of
    an order drawn once and repeated without end: after ceil(n / at_most) passes each of n was shown. An *epoch*, of
    `batches_per_epoch` batches, is as long as the client's own pictures make it without equalisation, so that a run on
    equalised data learns from as many pictures as one without.

    Args:
        labels: (N,) vehicle of each picture.
        groups: (N,) group of each picture, 0 to G - 1.
        own: (N,) which are the client's own and not enhanced ones.
        at_most: pictures that a group shows in a pass, at least 1.
        seed: not negative.
        kinds: as `BalancedBatches` takes them.

    Raises ValueError for a number out of range, and the errors of `BalancedBatches`."""

    def __init__(
        self,
        labels: NDArray[np.integer],
        groups: NDArray[np.int64],
        own: NDArray[np.bool_],
        *,
        at_most: int,
        pids_per_batch: int,
        images_per_pid: int,
        seed: int,
        kinds: NDArray[np.integer] | None = None,
    ) -> None:
        if at_most < 1:
            raise ValueError(f"at_most must be at least 1, got {at_most}")
        self._labels, self._kinds, self._seed, self._at_most = labels, kinds, seed, at_most
        self._sizes = {"pids_per_batch": pids_per_batch, "images_per_pid": images_per_pid}
        mine = self._ordered(np.flatnonzero(own), seed)
        self.batches_per_epoch = mine.batches_per_epoch
        rng = np.random.default_rng((seed, 2))
        self._orders = [rng.permutation(places) for places in split_groups(groups)]
        self._pass = -1
        self._places = self._shown(0)
        self._order = self._ordered(self._places, seed)
        self._length = self._order.batches_per_epoch  # depends on the numbers of pictures, the same in every pass

    def __getitem__(self, batch_index: int) -> NDArray[np.intp]:
        """Places of the pictures of one batch. Raises IndexError for a negative number."""
        if batch_index < 0:
            raise IndexError(f"batches count from 0, got {batch_index}")
        number, place = divmod(batch_index, self._length)
        if number != self._pass:
            places = self._shown(number)
            seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
            self._order, self._places, self._pass = self._ordered(places, seed), places, number
        return np.asarray(self._places[self._order[place]], np.intp)

    def _shown(self, number: int) -> NDArray[np.intp]:
        """Places of the pictures of a pass."""
        shown = []
        for order in self._orders:
            count = min(self._at_most, len(order))
            shown.append(order[(number * count + np.arange(count)) % len(order)])
        return np.sort(np.concatenate(shown))

    def _ordered(self, places: NDArray[np.intp], seed: int) -> BalancedBatches:
        kinds = None if self._kinds is None else self._kinds[places]
        return BalancedBatches(self._labels[places], seed=seed, kinds=kinds, **self._sizes)


def make_order(
    samples: Sequence[Sample],
    labels: NDArray[np.integer],
    *,
    pids_per_batch: int,
    images_per_pid: int,
    seed: int,
    equalise: EqualiseSettings,
    kinds: NDArray[np.integer] | None = None,
) -> BalancedBatches | EqualisedBatches:
    """The order in which samples are shown: by vehicle, and equalised where the settings ask for it."""
    sizes = {"pids_per_batch": pids_per_batch, "images_per_pid": images_per_pid}
    groups, own = groups_of(samples), np.array([not sample.enhanced for sample in samples], bool)
    target = target_count(np.bincount(groups[own])[np.unique(groups[own])], equalise) if own.any() else None
    if target is None:
        return BalancedBatches(labels, seed=seed, kinds=kinds, **sizes)
    at_most = target if equalise.sample_down else len(samples)
    return EqualisedBatches(labels, groups, own, at_most=at_most, seed=seed, kinds=kinds, **sizes)
