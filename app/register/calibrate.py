"""Calibration: sets the thresholds of a register's model from a set of images whose vehicles are known."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel

from app.core.errors import StoredFileError
from app.core.files import replacing
from app.core.outputs import require_folder_place
from app.core.sample import Modality
from app.core.typed_json import require_shape
from app.data.readers.reader import Direction
from app.evaluation.calibration import (
    Similarities,
    false_match_rate,
    joined,
    miss_rate,
    of_a_look_up,
    pairs,
    threshold_for,
)
from app.evaluation.errors import EvaluationError
from app.evaluation.ids import pair_ids
from app.register.calibrate_evidence import RATES, Fitted, Rates, fit
from app.register.comparisons import Comparison, of_directions
from app.register.errors import RegisterError
from app.register.evidence import Calibration
from app.register.identification import Identification
from app.register.matcher import Threshold, compared_names
from app.register.schema import Model, now
from app.register.trials import Texts, read_texts
from app.settings.checks import SettingsError
from app.tasks.image_files import Embeddings, embed_samples

_MOST_PAIRS = 20_000_000
REPORT = "report.json"


class _Rate(BaseModel):
    share: float
    low: float
    high: float


class _Measured(BaseModel):
    false_match_rate: _Rate
    miss_rate: _Rate


class _Unmeasured(BaseModel):
    error: str
    false_match_rate: None = None


class _Rates(BaseModel):
    residents_right: _Rate
    residents_wrong: _Rate
    residents_unsure: _Rate
    residents_unknown: _Rate | None = None
    residents_not_registered: _Rate | None = None
    strangers_named: _Rate
    strangers_unsure: _Rate | None = None
    strangers_unknown: _Rate | None = None
    strangers_not_registered: _Rate | None = None
    real_strangers_named: _Rate | None = None


class _Point(BaseModel):
    strangers: float
    right: float
    low: float
    high: float


class _Figures(_Rates):
    vehicles: int
    queries: int
    registered: int
    texts: int = 0
    curve: list[_Point] = []


class _Confirmed(BaseModel):
    residents: int
    vehicles: int
    strangers: int
    left_out: int


def _zoned(moment: str) -> str:
    if moment and datetime.fromisoformat(moment).tzinfo is None:
        raise ValueError("a moment without its zone")
    return moment


class _Evidence(_Figures):
    error: str = ""
    stranger_rate: float
    calibrated: Annotated[str, AfterValidator(_zoned)] = ""
    before: _Rates | None = None
    now: _Figures | None = None
    confirmed: _Confirmed | None = None


class _NoEvidence(BaseModel):
    error: str
    vehicles: None = None


class _Report(BaseModel):
    libraries: dict[str, _Measured | _Unmeasured]
    evidence: _Evidence | _NoEvidence | None = None


def calibrate(
    identification: Identification,
    directions: Sequence[Direction],
    *,
    rate: float,
    unsure_rate: float,
    account: str,
    about: str,
    rates: Rates = RATES,
) -> dict[str, Any]:
    """Measure same and different vehicles in each library, and keep the thresholds for the given false-match rates.

    Every kind of comparison that the directions have, such as infrared queries with a visible gallery, gets a threshold
    of its own; see `app.register.matcher`.

    Args:
        rate, unsure_rate: false-match rates of a match, and from where on a person should look.
        about: which images these are, for the report.
        rates: of the sum of all evidence; it keeps its calibration where too few vehicles have two images.

    Returns the report, which also lies in `calibration/<digest>/` beside an image for each library. A library for
    which the images hold no pair keeps its threshold. Raises ValueError if no library can be calibrated.
    """
    from app.evaluation.calibration_figures import calibration_picture  # matplotlib takes seconds to import

    check_rates(rate, unsure_rate)
    rates.check()
    model, recogniser = identification.active_model.current()
    samples = list(dict.fromkeys(s for direction in directions for s in (*direction.query, *direction.gallery)))
    folder = identification.folder / "calibration" / model.digest
    require_folder_place("calibration", folder)
    found = embed_samples(recogniser.task, recogniser.network, samples)
    folder.mkdir(parents=True, exist_ok=True)
    before, report = identification.models.identification_thresholds(model), dict[str, dict[str, Any]]()
    views = identification.register.counts()["views"]
    chosen: dict[str, Threshold] = {}
    for name, library, query, held in compared_names(model.libraries):
        restricted = _restricted(directions, query, held)
        if not restricted and (query, held) != ("visible", "visible"):
            continue
        try:
            measured = similarities(found, library, restricted)
            match = min(1.0, threshold_for(measured.different, rate))
            unsure = min(match, threshold_for(measured.different, unsure_rate))
        except EvaluationError as error:
            report[name] = {"error": str(error)}
            continue
        chosen[name] = replace(before[name], match=match, unsure=unsure)
        report[name] = {
            "threshold": match,
            "unsure": unsure,
            "false_match_rate": (matched := false_match_rate(measured, match))._asdict(),
            "look_up": {name: of_a_look_up(rate_, views) for name, rate_ in matched._asdict().items()},
            "miss_rate": miss_rate(measured, match)._asdict(),
            "pairs_same": len(measured.same),
            "pairs_different": len(measured.different),
            "vehicles": len(np.unique(measured.same_pids)),
        }
        path, title = folder / f"{name}.png", f"{name} library, {about}"
        calibration_picture(measured, match, unsure, path, title=title)
    if not chosen:
        reasons = "; ".join(f"{library}: {row['error']}" for library, row in report.items())
        raise EvaluationError(f"no library can be calibrated: {reasons}")
    reader = identification.plate_reader
    readings = reader.read_files(list(dict.fromkeys(s for each in directions for s in each.query)))
    texts = read_texts(directions, readings, reader.errors) if readings else None
    comparisons = of_directions(found, directions, model.libraries)
    evidence = _evidence(comparisons, rates, texts, earlier(identification, model))
    fitted = evidence if isinstance(evidence, Fitted) else None
    identification.models.set_thresholds(model.id, chosen, account, fitted and fitted.calibration)
    after = identification.models.identification_thresholds(identification.active_model.current()[0])
    for name in report.keys() - chosen.keys():
        report[name]["threshold"] = after[name].match
    content = {
        "model": model.digest,
        "rate": rate,
        "unsure_rate": unsure_rate,
        "data": about,
        "views": views,
        "libraries": report,
        "evidence": dated(fitted) if fitted else _unchanged(folder, str(evidence)),
    }
    write_report(folder, content)
    return {**content, "folder": str(folder)}


def _unchanged(folder: Path, reason: str) -> dict[str, Any]:
    """The report of an earlier calibration of evidence, which goes on deciding, and why it was not renewed; or the
    reason alone."""
    try:
        before = (read_report(folder) or {}).get("evidence") or {}
    except StoredFileError:
        before = {}
    return {**before, "error": reason}


def _evidence(
    comparisons: list[Comparison], rates: Rates, texts: Texts | None, before: Calibration | None
) -> Fitted | str:
    """A calibration, or the reason why there is none."""
    try:
        return fit(comparisons, rates, texts, before)
    except EvaluationError as error:
        return str(error)


def earlier(identification: Identification, model: Model) -> Calibration | None:
    """The calibration that is replaced, if there is one that can be read."""
    try:
        return identification.models.evidence(model)
    except RegisterError:
        return None


def dated(fitted: Fitted) -> dict[str, Any]:
    """The report of evidence that was calibrated now."""
    return {**fitted.report, "calibrated": now().isoformat()}


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a calibration, from its folder; None if there was none. Raises ValueError naming a damaged one."""
    path = folder / REPORT
    if not path.exists():
        return None
    try:
        report = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise StoredFileError(f"{path}: not JSON") from error
    checked: dict[str, Any] = require_shape(path, _Report, report)
    return checked


def _restricted(directions: Sequence[Direction], query: Modality, held: Modality) -> list[Direction]:
    """The directions with queries in one modality and a gallery in one; those that have neither or one are left out."""
    cut = [
        Direction(
            each.name,
            tuple(sample for sample in each.query if sample.modality == query),
            tuple(sample for sample in each.gallery if sample.modality == held),
        )
        for each in directions
    ]
    return [each for each in cut if each.query and each.gallery]


def check_rates(rate: float, unsure_rate: float) -> None:
    """Raise ValueError for impossible rates, before anything is measured."""
    for name, value in (("match", rate), ("unsure", unsure_rate)):
        if not 0.0 < value < 1.0:
            raise SettingsError(f"the false-match rate of {name} lies between 0 and 1, got {value}")
    if not rate <= unsure_rate:
        raise SettingsError(f"the false-match rate of unsure, {unsure_rate}, must not be below that of a match, {rate}")


def similarities(found: Embeddings, library: str, directions: Sequence[Direction]) -> Similarities:
    """Pairs of all directions whose images both have something for the library; at most twenty million.

    Raises ValueError if there are none of the same, or none of different vehicles."""
    vectors = found.libraries[library]
    rows = {sample: row for row, sample in enumerate(found.samples) if vectors[row].any()}
    if not rows:
        raise EvaluationError("none of these images has anything for this library, such as a plate")
    parts = []
    for direction in directions:
        queries, gallery = ([s for s in part if s in rows] for part in (direction.query, direction.gallery))
        most = max(1, _MOST_PAIRS // (max(1, len(gallery)) * len(directions)))
        if len(queries) > most:
            chosen = np.random.default_rng(0).choice(len(queries), most, replace=False)
            queries = [queries[row] for row in sorted(chosen.tolist())]
        similarity = vectors[[rows[s] for s in queries]] @ vectors[[rows[s] for s in gallery]].T
        parts.append(pairs(similarity, **pair_ids(queries, gallery)))
    if not parts:
        raise EvaluationError("there are no images to compare")
    return joined(parts).require_both()


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Keep the report of a calibration in its folder, which is there."""
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
