"""From settings to the images of one client or of all of them."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from app.core.sample import Sample, Weather
from app.data.background import aligned_pairs, background
from app.data.folds import FOLD, folds_of
from app.data.holdout import holdout
from app.data.partition import by_site, own_cameras, partition, partition_directions
from app.data.readers.errors import DataSetError
from app.data.readers.reader import Direction, Reader, each_against_all, open_reader
from app.settings.hints import root_hint
from app.settings.load import MISSING, DataSettings, SettingsError, absolute
from app.synthetic import generate
from models.errors import MissingFileError

_log = logging.getLogger(__name__)


class OwnParts(NamedTuple):
    """A split by client.

    Args:
        directions: of each client; None if the split does not tell whose its images are.
        reason: why it does not.
    """

    directions: list[list[Direction]] | None
    reason: str = ""


@dataclass(frozen=True)
class Source:
    """One data set, opened. Nothing is read before a method asks for it."""

    reader: Reader
    settings: DataSettings
    seed: int

    def remembering(self) -> "Source":
        """The same set, each of whose lists is read once."""
        return replace(self, reader=_Remembering(self.reader))

    def train(self) -> list[Sample]:
        """All training images, without those held out."""
        return self._held_out()[0]

    def evaluation(self, split: str) -> list[Direction]:
        """The directions of a split, the queries of `data.eval_split` in `data.weather`; "holdout" is what
        `data.holdout` keeps out of training, "fold" is `data.fold`.

        Raises DataSetError for a split of the set's own under `data.folds`, as it holds vehicles of training."""
        return self._in_weather(split, self._by_day(split))

    def by_day(self) -> "Source":
        """The same set without weather: for the measures of rounds, also of a split that is measured in weather at the
        end."""
        return replace(self, settings=replace(self.settings, weather="none"))

    def _by_day(self, split: str) -> list[Direction]:
        if split == "holdout":
            if not (held := self._held_out()[1]):
                raise SettingsError("data.eval_split=holdout needs data.holdout above 0")
            return self.directions_of(held)
        if not self.settings.folds:
            if split == FOLD:
                raise SettingsError("data.eval_split=fold needs data.folds=K and data.fold, 0 to K - 1")
            return self.reader.evaluation(split)
        if split != FOLD:
            raise DataSetError(
                f"with data.folds vehicles of {split} are trained on; data.eval_split=fold measures others. A set that "
                "was not trained on is measured with data.folds=0 data.fold=0"
            )
        return self.directions_of(self._fold()[1])

    def directions_of(self, held: Sequence[Sample]) -> list[Direction]:
        """The directions of the images for training, or with `data.folds` of all, with these alone."""
        # Not by image alone: a photograph may show vehicles of both sides.
        chosen = {(sample.path, sample.pid) for sample in held}
        return [_restrict(direction, chosen) for direction in self.reader.evaluation(self._whole)]

    @property
    def _whole(self) -> str:
        """The split that is divided into images for training and others."""
        return "all" if self.settings.folds else "train"

    def _held_out(self) -> tuple[list[Sample], list[Sample]]:
        samples = self._fold()[0] if self.settings.folds else self.reader.train()
        return holdout(samples, self.settings.holdout, self.seed)

    def _fold(self) -> tuple[list[Sample], list[Sample]]:
        """Images of the other folds, and those of `data.fold`."""
        directions = self.reader.evaluation(self._whole)
        samples = list(dict.fromkeys(sample for each in directions for sample in (*each.query, *each.gallery)))
        tested = folds_of(samples, self.settings.folds)[self.settings.fold]
        return [s for s in samples if s.pid not in tested], [s for s in samples if s.pid in tested]

    def parts(self, num_clients: int) -> list[list[Sample]]:
        """Training images by simulated client, in the order of partition ids."""
        settings = self.settings.partition
        if settings.by == "none":
            return [self.train()] * num_clients
        if settings.by == "site":  # with fewer clients than sites the last sites take no part
            parts = by_site(self.train())
            if num_clients > len(parts):
                raise SettingsError(f"federation.num_clients is {num_clients}, the data has {len(parts)} sites")
            return parts[:num_clients]
        samples = self.train()
        try:
            return partition(samples, by=settings.by, num_clients=num_clients, alpha=settings.alpha, seed=self.seed)
        except DataSetError as error:
            raise SettingsError(f"{error} (data.partition.by={settings.by}, federation.num_clients)") from error

    def union(self, num_clients: int) -> list[Sample]:
        """The training images that the simulated clients have together, each once."""
        return list(dict.fromkeys(sample for part in self.parts(num_clients) for sample in part))

    def with_background(self, samples: list[Sample]) -> list[Sample]:
        """These training images of one party, and the patches of `data.background` in its photographs; away from the
        vehicles of training, whoever has them, and of the measured splits."""
        if not self.settings.background:
            return samples
        known = [*self._undivided(), *self._measured()]
        if not aligned_pairs(samples):
            _log.warning("data.background: none of the photographs here are aligned; trained without patches")
        return [*samples, *background(samples, known, self.settings.background)]

    def require_aligned(self) -> None:
        """Raise SettingsError if `data.background` asks for patches and no photographs of the set are aligned. One
        party of a federation may have none."""
        if (number := self.settings.background) and not aligned_pairs(self._undivided()):
            raise SettingsError(
                f"data.background={number}: {self.settings.reader} has no vehicle at the same box of a visible and an "
                "infrared photograph; data.background=0 trains without patches"
            )

    def _measured(self) -> list[Sample]:
        """The images of the measured splits, as far as the set has these."""
        splits = {self.settings.eval_split, self.settings.val_split} - {"", "holdout", FOLD}
        found: list[Sample] = []
        for split in sorted(splits):
            with suppress(ValueError, OSError):  # named where the split is measured; a site may be without it
                found += [s for each in self._by_day(split) for s in (*each.query, *each.gallery)]
        return found

    def _undivided(self) -> list[Sample]:
        """The images for training before any are kept out; with `data.folds` those of all folds."""
        return [*self._fold()[0], *self._fold()[1]] if self.settings.folds else self.reader.train()

    def evaluation_parts(self, split: str, num_clients: int) -> list[list[Direction]]:
        """The directions of a split by simulated client, dealt as the training images are."""
        directions, settings = self._by_day(split), self.settings.partition
        if settings.by == "none":
            return [self._in_weather(split, directions)] * num_clients
        sites = sorted({sample.site for sample in self.train() if sample.site is not None})
        if settings.by == "site":
            num_clients = len(sites)
        parts = partition_directions(
            directions, by=settings.by, num_clients=num_clients, alpha=settings.alpha, seed=self.seed, sites=sites
        )
        return [self._in_weather(split, part) for part in parts]

    def own_parts(self, split: str, num_clients: int) -> OwnParts:
        """The part of a split that is of each simulated client's own place.

        By site these are the images of its site, by camera the queries of its cameras against the whole gallery. Where
        vehicles are dealt to the clients, no vehicle of another split is of one of them."""
        by = self.settings.partition.by
        try:
            if by == "site":
                return OwnParts(self.evaluation_parts(split, num_clients)[:num_clients])
            if by == "camera":
                return OwnParts(own_cameras(self.evaluation(split), self.parts(num_clients)))
        except DataSetError as error:
            return OwnParts(None, str(error))
        return OwnParts(None, f"with data.partition.by={by} no image of {split} belongs to one client")

    def _in_weather(self, split: str, directions: list[Direction]) -> list[Direction]:
        kind = self.settings.weather
        if kind == "none" or split != self.settings.eval_split:
            return directions
        weather = Weather(kind, self.seed, absolute(self.settings.root))
        return [replace(each, query=tuple(replace(s, weather=weather) for s in each.query)) for each in directions]


class _Remembering:
    """A reader that reads each list once. Nobody changes a list that a reader gave."""

    def __init__(self, reader: Reader) -> None:
        self.train = cache(reader.train)
        self.evaluation = cache(reader.evaluation)


def open_source(settings: DataSettings, seed: int) -> Source:
    """The data set that the settings name; a synthetic one is made if its folder does not hold it yet.

    Raises SettingsError for an unknown set and FileNotFoundError naming a missing folder.
    """
    if settings.root == MISSING:
        raise SettingsError(
            f"data.root=FOLDER is missing: the images of {settings.reader!r}{root_hint(settings.reader)}"
        )
    root = absolute(settings.root)
    try:
        if settings.reader == "synthetic":
            return Source(open_reader("manifest", generate(settings.synthetic, root), seed=seed), settings, seed)
        reader = open_reader(settings.reader, root, seed=seed)
    except (SettingsError, DataSetError) as error:
        raise SettingsError(f"data: {error}") from error
    if not root.exists():
        raise MissingFileError(f"data.root not found: {root}")
    return Source(reader, settings, seed)


def _restrict(direction: Direction, held: set[tuple[Path, int]]) -> Direction:
    if direction.query == direction.gallery:
        return each_against_all(direction.name, [s for s in direction.query if (s.path, s.pid) in held])

    def keep(samples: Sequence[Sample]) -> tuple[Sample, ...]:
        return tuple(sample for sample in samples if (sample.path, sample.pid) in held)

    return Direction(direction.name, keep(direction.query), keep(direction.gallery))
