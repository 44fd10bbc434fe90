"""Step of data equalisation: from a pre-model and images to the record of enhanced images and suspects."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.core.sample import Sample
from app.data.sampler import groups_of, split_groups, target_count
from app.equalise.drafts import draw_drafts
from app.equalise.findings import find, rounded, suspect_rows
from app.equalise.store import EnhancedFiles
from app.evaluation.embed import NoImageError
from app.settings.load import Settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples
from app.tasks.task import embedding_task

_NAMED = 3  # files in a warning
_SHOWN = 12  # refused images kept for the report
_AT_ONCE = 512  # drafts on the disk


@dataclass
class _Incomplete:
    """Missing images of a group.

    Args:
        about: the group in words.
        sources: places of its base images, in the order in which they are taken, again and again.
        count: missing images in all.
    """

    group: int
    about: str
    sources: NDArray[np.intp]
    count: int
    centre: NDArray[np.floating]
    rendered: int = 0
    unlike: int = 0  # refused, as they lie below the interval
    alike: int = 0  # above it
    kept: list[dict[str, Any]] = field(default_factory=list)

    @property
    def missing(self) -> int:
        return self.count - len(self.kept)


class EqualisationStep:
    """One equalisation of a client's images.

    Args:
        samples: at least one.
        network: the pre-model.
        seconds: to which those of "embed" and "enhance" are added.
    """

    def __init__(
        self,
        settings: Settings,
        samples: Sequence[Sample],
        network: nn.Module,
        files: EnhancedFiles,
        seed: int,
        seconds: dict[str, float],
    ) -> None:
        # A separate task: drafts are read once and must not displace images in the cache.
        # One view: every client embeds all of its images in a round.
        data, evaluation = replace(settings.data, cache_mb=0, cache_dir=""), replace(settings.evaluation, views=1)
        uncached = replace(settings, data=data, evaluation=evaluation)
        self.task = embedding_task(make_task(uncached))
        self.task.build(2, settings.seed, pretrained=False)  # a task knows its backbone's input once it has built one
        self.options = settings.data.equalise
        self.library = self.options.library or self.task.libraries[-1]
        self.samples, self.network, self.files = list(samples), network, files
        self.seed, self.seconds = seed, seconds
        self.warnings: list[str] = []
        self.cosines: list[float] = []  # of all drafts

    def run(self) -> dict[str, Any]:
        """The record: plain values, in which an image is its place in `samples`."""
        options = self.options
        groups = groups_of(self.samples)
        rows = self._embed(self.samples)
        self._warn_of_lost(rows)
        found = find(self.samples, rows, groups, options)
        counts = np.bincount(groups[~found.out & found.seen], minlength=int(groups.max()) + 1)
        target = target_count(counts[counts > 0], options)
        kept: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        if target is not None and options.fill:
            # An image with a doubtful label is not enhanced.
            kept, refused = self._fill(groups, found.base & ~found.suspected, counts, target, found.centre_of)
        return {
            "target": target,
            "threshold": found.threshold,
            "interval": list(options.interval),
            "library": self.library,
            "own": [rounded(value) for value in found.own],
            "base": np.flatnonzero(found.base).tolist(),
            "suspects": suspect_rows(found, groups),
            "left_out": np.flatnonzero(found.out).tolist(),
            "kept": kept,
            "refused": refused,
            "drawn": [round(value, 4) for value in self.cosines],
            "warnings": self.warnings,
        }

    def _warn_of_lost(self, rows: Mapping[Sample, NDArray[np.float32]]) -> None:
        """Name images without a row."""
        lost = [str(sample.path) for sample in self.samples if sample not in rows]
        if lost:
            named = f"{', '.join(lost[:_NAMED])}{' and others' if len(lost) > _NAMED else ''}"
            what = f"{len(lost)} of {len(self.samples)} images cannot be embedded by {self.library}"
            self.warnings.append(f"{what} and stay as they are: {named}")

    def _embed(self, samples: Sequence[Sample]) -> dict[Sample, NDArray[np.float32]]:
        """Rows of the library by sample, of the readable ones with an embedding in it."""
        started = time.monotonic()
        try:
            found = embed_samples(self.task, self.network, samples)
        except NoImageError:
            return {}
        finally:
            self.seconds["embed"] += time.monotonic() - started
        vectors = found.libraries[self.library]
        if not np.isfinite(vectors).all():
            self.warnings.append("the pre-model's embeddings are not finite: it cannot be used")
        pairs = zip(found.samples, vectors, strict=True)
        return {sample: row for sample, row in pairs if np.isfinite(row).all() and row.any()}

    def _fill(
        self,
        groups: NDArray[np.int64],
        base: NDArray[np.bool_],
        counts: NDArray[np.int64],
        target: int,
        centre_of: Mapping[int, NDArray[np.floating]],
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of the record for images kept and for some of those refused, group after group."""
        incomplete: list[_Incomplete] = []
        for places in split_groups(groups):
            group = int(groups[places[0]])
            if not 0 < counts[group] < target:
                continue
            about = _named(self.samples[places[0]])
            sources = places[base[places]]
            if len(sources):
                order = np.random.default_rng((self.seed, group, 3)).permutation(sources)
                incomplete.append(_Incomplete(group, about, order, int(target - counts[group]), centre_of[group]))
            else:
                which = f"no image is added for it (images: {counts[group]})"
                self.warnings.append(f"{about} has no base image of an undoubted label: {which}")
        refused: list[dict[str, Any]] = []
        try:
            for attempt in range(self.options.candidates):
                for part in _parts([each for each in incomplete if each.missing]):
                    self._draw(part, attempt, refused)
        except OSError as error:
            self.warnings.append(f"no more images are added, {self.files.folder} cannot be written: {error}")
        low, high = self.options.interval
        self.warnings += [
            f"{each.about}: {len(each.kept)} of {each.count} missing images between {low:g} and {high:g}; "
            f"{each.unlike} were too unlike the vehicle, {each.alike} hardly changed"
            for each in incomplete
            if each.missing
        ]
        return [row for each in incomplete for row in each.kept], refused

    def _draw(self, part: Sequence[_Incomplete], attempt: int, refused: list[dict[str, Any]]) -> None:
        """Render the missing images of each group, and keep those within the interval."""
        low, high = self.options.interval
        with self.files.drafts() as folder:
            started = time.monotonic()
            owners: list[tuple[_Incomplete, int]] = []
            made: list[Sample | None] = []
            for each in part:
                places = each.sources[
                    np.arange(each.rendered, each.rendered + each.missing) % len(each.sources)
                ].tolist()
                each.rendered += len(places)
                own = folder / str(each.group)
                own.mkdir()
                rng = np.random.default_rng((self.seed, each.group, attempt, 4))
                made += draw_drafts(own, [self.samples[place] for place in places], self.options.kinds, rng)
                owners += [(each, place) for place in places]
            self.seconds["enhance"] += time.monotonic() - started
            rows = self._embed([draft for draft in made if draft is not None])
            for (each, place), draft in zip(owners, made, strict=True):
                if draft is None:
                    warning = f"{self.samples[place].path} was embedded and cannot be read any more: it is not enhanced"
                    self.warnings += [warning] if warning not in self.warnings else []
                if draft is None or draft not in rows:
                    continue
                cosine = float(np.asarray(rows[draft], np.float64) @ each.centre)
                self.cosines.append(cosine)
                inside = low < cosine < high
                each.unlike += cosine <= low
                each.alike += cosine >= high
                if not inside and len(refused) >= _SHOWN:
                    continue
                plate = self.files.keep(draft.plate_path) if draft.plate_path and inside else None
                row = {"place": place, "cosine": cosine, "file": self.files.keep(draft.path), "plate_file": plate}
                (each.kept if inside else refused).append(row)


def _parts(incomplete: Sequence[_Incomplete]) -> list[list[_Incomplete]]:
    """Groups that lack `_AT_ONCE` images together or a little more."""
    parts: list[list[_Incomplete]] = []
    room = 0
    for each in incomplete:
        if room <= 0:
            parts.append([])
            room = _AT_ONCE
        parts[-1].append(each)
        room -= each.missing
    return parts


def _named(sample: Sample) -> str:
    return f"vehicle {sample.pid}" + (" in infrared" if sample.modality == "infrared" else "")
