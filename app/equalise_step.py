"""The step of data equalisation: from a pre-model and pictures to the record of what was made and found."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.data.enhanced_drafts import draw_drafts
from app.data.enhanced_files import EnhancedFiles
from app.data.equalise import (
    base_pictures,
    base_threshold,
    find_centres,
    groups_of,
    left_out,
    suspects,
    target_count,
)
from app.data.sample import Sample
from app.settings import Settings
from app.tasks import make_task

_SHOWN = 12  # refused pictures kept for the report


class Step:
    """One equalisation of a client's pictures.

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
        # A task of its own: drafts are looked at once and must not take the place of pictures that are.
        quiet = replace(settings, data=replace(settings.data, cache_mb=0, cache_dir=""))
        self.task = make_task(quiet)
        self.task.build(2, settings.seed, pretrained=False)  # a task knows its backbone's input once it has built one
        self.options = settings.data.equalise
        self.library = self.options.library or self.task.libraries[-1]
        self.samples, self.network, self.files = list(samples), network, files
        self.seed, self.seconds = seed, seconds
        self.warnings: list[str] = []

    def run(self) -> dict[str, Any]:
        """The record."""
        options, samples = self.options, self.samples
        groups = groups_of(samples)
        pids = np.array([sample.pid for sample in samples], np.int64)
        rows = self._embed(samples)
        seen = np.array([sample in rows for sample in samples], bool)
        if not seen.all():
            self.warnings.append(
                f"{int((~seen).sum())} of {len(samples)} pictures cannot be embedded and stay as they are"
            )
        own = np.full(len(samples), np.nan)
        gap = np.full(len(samples), np.nan)
        suspected = np.zeros(len(samples), bool)
        nearest = np.full(len(samples), -1, np.int64)
        threshold, known, centres = 0.0, np.zeros(0, np.int64), None
        if seen.any():
            known, inside = np.unique(groups[seen], return_inverse=True)
            vectors = np.stack([rows[sample] for sample in samples if sample in rows])
            centres = find_centres(vectors, inside.reshape(-1), pids[seen])
            own[seen] = centres.own
            threshold = base_threshold(centres.own, options)
            gap[seen] = centres.other - centres.without
            suspected[seen] = suspects(centres, options.suspect_margin)
            nearest[seen] = np.where(centres.nearest >= 0, known[centres.nearest], -1)
        base = np.zeros(len(samples), bool)
        base[seen] = base_pictures(own[seen], threshold)
        out = np.zeros(len(samples), bool)
        if options.suspects == "leave_out":
            out = left_out(suspected, np.nan_to_num(own, nan=-1.0), pids)
        counts = np.bincount(groups[~out], minlength=int(groups.max()) + 1)
        target = target_count(counts[counts > 0], options)
        kept: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        if target is not None and options.fill and centres is not None:
            of_group = {int(group): centres.matrix[row] for row, group in enumerate(known)}
            # A picture whose label is doubtful is not multiplied.
            kept, refused = self._fill(groups, base & ~out & ~suspected, counts, target, of_group)
        first = {int(group): int(np.flatnonzero(groups == group)[0]) for group in np.unique(groups)}
        return {
            "target": target,
            "threshold": threshold,
            "interval": list(options.interval),
            "library": self.library,
            "own": [None if np.isnan(value) else round(float(value), 5) for value in own],
            "base": np.flatnonzero(base).tolist(),
            "suspects": [
                {
                    "place": int(i),
                    "cosine": round(float(own[i]), 5),
                    "gap": round(float(gap[i]), 5),  # by how much another centre is nearer
                    "nearer": first.get(int(nearest[i])),
                }
                for i in np.flatnonzero(suspected)
            ],
            "left_out": np.flatnonzero(out).tolist(),
            "kept": kept,
            "refused": refused,
            "warnings": self.warnings,
        }

    def _embed(self, samples: Sequence[Sample]) -> dict[Sample, NDArray[np.float32]]:
        """Rows of the library by sample, of those that can be read and have something for it."""
        started = time.monotonic()
        try:
            found = self.task.embeddings(self.network, samples, self.task.compute.device)
        except ValueError:  # none can be read
            return {}
        finally:
            self.seconds["embed"] += time.monotonic() - started
        vectors = found.libraries[self.library]
        return {sample: row for sample, row in zip(found.samples, vectors, strict=True) if row.any()}

    def _fill(
        self,
        groups: NDArray[np.int64],
        base: NDArray[np.bool_],
        counts: NDArray[np.int64],
        target: int,
        centres: Mapping[int, NDArray[np.floating]],
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of the record for pictures kept and for some of those refused, group after group."""
        kept: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        for group in np.flatnonzero((counts > 0) & (counts < target)):
            sources = np.flatnonzero(base & (groups == group))
            wanted = int(target - counts[group])
            about = _named(self.samples[int(np.flatnonzero(groups == group)[0])])
            if not len(sources):
                which = f"nothing is made for it (pictures: {counts[group]})"
                self.warnings.append(f"{about} has no base picture of an undoubted label, {which}")
                continue
            try:
                accepted, others = self._candidates(
                    int(group), sources, wanted, centres[int(group)], _SHOWN - len(refused)
                )
            except OSError as error:
                self.warnings.append(f"from {about} on nothing is made, {self.files.folder} cannot be written: {error}")
                break
            kept += accepted
            refused += others
            if len(accepted) < wanted:
                low, high = self.options.interval
                self.warnings.append(
                    f"{about}: {len(accepted)} of {wanted} wanted pictures; no more lay between {low:g} and {high:g}"
                )
        return kept, refused

    def _candidates(
        self, group: int, sources: NDArray[np.int64], wanted: int, centre: NDArray[np.floating], shown: int
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Draw pictures from base pictures in turn, and keep `wanted` of those within the interval."""
        low, high = self.options.interval
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, group, 3)))
        order = np.resize(rng.permutation(sources), wanted * self.options.candidates)
        with self.files.drafts() as drafts:
            started = time.monotonic()
            made = draw_drafts(drafts, [self.samples[place] for place in order], self.options.kinds, rng)
            if lost := sorted({str(self.samples[p].path) for p, d in zip(order, made, strict=True) if d is None}):
                self.warnings.append(
                    f"{lost[0]} could be embedded and cannot be read any more; nothing is made from it"
                )
            self.seconds["enhance"] += time.monotonic() - started
            rows = self._embed([draft for draft in made if draft is not None])
            kept: list[dict[str, Any]] = []
            refused: list[dict[str, Any]] = []
            for source, draft in zip(order.tolist(), made, strict=True):
                if draft is None or draft not in rows:
                    continue
                cosine = float(np.asarray(rows[draft], np.float64) @ centre)
                inside = low < cosine < high
                if not (len(kept) < wanted if inside else len(refused) < shown):
                    continue
                plate = self.files.keep(draft.plate_path) if draft.plate_path and inside else None
                row = {"place": source, "cosine": cosine, "file": self.files.keep(draft.path), "plate_file": plate}
                (kept if inside else refused).append(row)
            return kept, refused


def _named(sample: Sample) -> str:
    return f"vehicle {sample.pid}" + (" in infrared" if sample.modality == "infrared" else "")
