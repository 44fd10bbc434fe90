"""Class-balanced batches: P vehicles with K images each (Hermans et al., 2017, arXiv:1703.07737, Sec. 2); of equalised
data also such that no vehicle is oversampled in an epoch."""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.sample import Sample
from app.settings.equalise import EqualiseSettings

_FEW, _SINGLES = 2.0, 0.4  # images of a vehicle on average, share of the vehicles with a single one


class BalancedBatches:
    """An endless stream of batches, each a function of its number, so that a run resumes without stored random state.

    `batches[i]` holds the places in `labels` of the images of batch i: W = min(pids_per_batch, vehicles) different
    vehicles with `images_per_pid` images each, vehicle after vehicle. Every image is in every epoch, an epoch being
    `batches_per_epoch` batches. What is needed to make batches whole is repeated: a vehicle with fewer images than
    `images_per_pid` repeats its own, within an epoch each as often as another or once more; a batch with too few
    vehicles takes those whose images were seen least in this epoch. Where one vehicle has so many images that it
    must be in nearly every batch, the other vehicles are therefore seen several times in an epoch.

    With `kinds`, such as modalities, a group holds `images_per_pid` images of each kind that the vehicle has, kind
    after kind: P vehicles with K visible and K infrared images each (Ye et al., 2021, arXiv:2001.04193).

    The stream does not end: take `batches_per_epoch` batches or a number of your own, do not iterate over the object.

    Args:
        labels: (N,) vehicle of each image, any integers.
        pids_per_batch: at least 2.
        images_per_pid: at least 1. If it is 1 and there is one vehicle only, batches hold 2 images all the same: one
            alone has no batch statistics.
        seed: not negative.
        kinds: (N,) kind of each image, any integers; None where all are of one.

    Raises ValueError for empty labels, kinds of another length, or a number out of range.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        *,
        pids_per_batch: int,
        images_per_pid: int,
        seed: int,
        kinds: NDArray[np.integer] | None = None,
    ) -> None:
        labels = np.asarray(labels)
        if labels.ndim != 1 or len(labels) == 0:
            raise ValueError(f"labels must be a list of at least one vehicle, got shape {labels.shape}")
        if pids_per_batch < 2 or images_per_pid < 1 or seed < 0:
            raise ValueError(
                "need pids_per_batch >= 2, images_per_pid >= 1, seed >= 0; "
                f"got {pids_per_batch}, {images_per_pid}, {seed}"
            )
        if kinds is not None and len(kinds) != len(labels):
            raise ValueError(f"{len(kinds)} kinds of {len(labels)} images")
        _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        images = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])  # one array a vehicle
        self._images = [_by_kind(own, kinds) for own in images]
        counts = np.array([max(map(len, own)) for own in self._images])  # of each vehicle's most frequent kind
        self._width = min(pids_per_batch, len(counts))
        self._group = max(images_per_pid, 2) if len(counts) == 1 else images_per_pid
        self._seed = seed
        self._groups = -(-counts // self._group)  # (V,), groups that hold each image once
        # A vehicle has at most one group in a batch, so there are at least as many batches as it has groups.
        self.batches_per_epoch = int(max(-(-self._groups.sum() // self._width), self._groups.max()))
        self._epoch = -1
        self._batches: list[NDArray[np.intp]] = []

    def __getitem__(self, batch_index: int) -> NDArray[np.intp]:
        """Places of the images of one batch, (W * images_per_pid,) of one kind.

        Raises IndexError for a negative number."""
        if batch_index < 0:
            raise IndexError(f"batches count from 0, got {batch_index}")
        epoch, place = divmod(batch_index, self.batches_per_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self._make_epoch(epoch), epoch
        return self._batches[place].copy()

    def _make_epoch(self, epoch: int) -> list[NDArray[np.intp]]:
        rng = np.random.default_rng((self._seed, epoch))
        order = rng.permutation(len(self._images))
        groups = self._fill(order)
        batches: list[list[NDArray[np.intp]]] = [[] for _ in range(self.batches_per_epoch)]
        deck: list[int] = []
        for vehicle in order:
            number = int(groups[vehicle])
            drawn, deck = self._draw(deck, number, rng)
            shuffled = [rng.permutation(own) for own in self._images[vehicle]]
            # Each kind repeats from the start once all were used.
            images = np.hstack([np.resize(own, (number, self._group)) for own in shuffled])
            for place, group in zip(drawn, images, strict=True):
                batches[place].append(group)
        return [np.concatenate(batch) for batch in batches]

    def _fill(self, order: NDArray[np.intp]) -> NDArray[np.intp]:
        """Groups of each vehicle, (V,), raised until they fill all batches."""
        groups = self._groups.copy()
        missing = self.batches_per_epoch * self._width - int(groups.sum())
        if missing == 0:
            return groups
        sizes = [max(map(len, images)) for images in self._images]
        # (how often an image of it is seen, rank, vehicle)
        heap = [(groups[v] * self._group / sizes[v], rank, v) for rank, v in enumerate(order.tolist())]
        heapq.heapify(heap)
        while missing:
            _, rank, vehicle = heapq.heappop(heap)
            if groups[vehicle] < self.batches_per_epoch:  # otherwise it is in every batch already
                groups[vehicle] += 1
                missing -= 1
                heapq.heappush(heap, (groups[vehicle] * self._group / sizes[vehicle], rank, vehicle))
        return groups

    def _draw(self, deck: list[int], number: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Different batches for the groups of one vehicle, and the deck that is left.

        A deck holds each batch once and a new one is begun when it is used up: so all batches fill evenly."""
        drawn, deck = deck[:number], deck[number:]
        if len(drawn) < number:
            new: list[int] = rng.permutation(self.batches_per_epoch).tolist()
            taken = set(drawn)
            more = [place for place in new if place not in taken][: number - len(drawn)]
            taken = set(more)
            drawn, deck = drawn + more, [place for place in new if place not in taken]
        return drawn, deck


def _by_kind(places: NDArray[np.intp], kinds: NDArray[np.integer] | None) -> list[NDArray[np.intp]]:
    """The places of each kind, in the order of kinds."""
    if kinds is None:
        return [places]
    own = np.asarray(kinds)[places]
    return [places[own == kind] for kind in np.unique(own)]


class EqualisedBatches:
    """As `BalancedBatches`, which orders each cycle, over a part of the images that changes from cycle to cycle.

    Of a group with more than `at_most` images, cycle i shows those in places i * at_most to (i + 1) * at_most - 1 of
    an order sampled once and repeated without end: after ceil(n / at_most) cycles each of n was shown. An *epoch*, of
    `batches_per_epoch` batches, is as long as the client's own images make it without equalisation, so that a run on
    equalised data learns from as many images as one without.

    Args:
        labels: (N,) vehicle of each image.
        groups: (N,) group of each image, 0 to G - 1.
        own: (N,) which are the client's own and not enhanced ones.
        at_most: images that a group shows in a cycle, at least 1.
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
        self._length = self._order.batches_per_epoch  # depends on the numbers of images, the same in every pass

    def __getitem__(self, batch_index: int) -> NDArray[np.intp]:
        """Places of the images of one batch. Raises IndexError for a negative number."""
        if batch_index < 0:
            raise IndexError(f"batches count from 0, got {batch_index}")
        number, place = divmod(batch_index, self._length)
        if number != self._pass:
            places = self._shown(number)
            seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
            self._order, self._places, self._pass = self._ordered(places, seed), places, number
        return np.asarray(self._places[self._order[place]], np.intp)

    def _shown(self, number: int) -> NDArray[np.intp]:
        """Places of the images of a cycle."""
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
    at_most = target if equalise.sample_down and equalise.target != "auto" else len(samples)
    return EqualisedBatches(labels, groups, own, at_most=at_most, seed=seed, kinds=kinds, **sizes)


def groups_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Group of each sample (N,), 0 to G - 1 by pid, then modality."""
    if not samples:
        return np.zeros(0, np.int64)
    keys = [(sample.pid, sample.modality == "infrared") for sample in samples]
    return np.unique(np.array(keys, np.int64), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def split_groups(groups: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Places of each group, ascending, in the order of their numbers."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(groups) else []


def target_count(counts: NDArray[np.int64], settings: EqualiseSettings) -> int | None:
    """Images that a group is to have, at least 1; None where the counts stay. Halves are rounded up.

    "auto" is 2 for groups of at most `_FEW` images on average of which `_SINGLES` have a single one: there filling
    helped, and not among groups of eight (docs/benchmarks.md, "Data equalisation")."""
    if not settings.target or not len(counts):
        return None
    if settings.target == "auto":
        return 2 if counts.mean() <= _FEW and (counts == 1).mean() >= _SINGLES else None
    if isinstance(settings.target, int):
        return settings.target
    quantile = 0.5 if settings.target == "median" else settings.quantile
    return max(1, int(np.floor(np.quantile(counts, quantile) + 0.5)))
