"""Accuracy of a register: the first camera enrolled, the second as queries, and the other way round.

Run: python -m scripts.bench.identify run=outputs/two_cam/<time> data=two_cam data.eval_split=test calibrate=val
`model=global` (default) or another checkpoint of the run. Thresholds are calibrated on the split `calibrate` of the
same set (`rate=0.001`, `unsure_rate=0.01`, and `stranger_rate=0.01` of the sum of all evidence); without it they are
0.9, and there is no sum; `calibrate_root=FOLDER` for a set elsewhere. `views=4` is another number of views
of an image than the run's. Closed set: every query's vehicle is enrolled.
Open set: its own vehicle is left out, so that every match is a false one. The last line is one JSON object: shares of
queries by outcome, as the register decides; then all libraries in turn, each alone, and the sum of all evidence.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.core.sample import Sample, comparable
from app.data.dataset import open_source
from app.data.readers.reader import Direction
from app.register import calibrate as calibration
from app.register.calibrate_evidence import Rates, outcomes
from app.register.comparisons import of_directions
from app.register.identification import Identification
from app.register.matcher import Candidate, Outcome, Threshold, decide
from app.register.photos import VehiclePhoto, read_photo
from app.settings.checks import SettingsError
from app.settings.load import absolute
from app.settings.stored import with_overrides
from app.tasks.image_files import embed_samples
from scripts.bench.errors import BenchError
from scripts.command import command, decimal_number, split_words, whole_number

_OWN = {
    **{"run": "", "model": "global", "calibrate": "", "calibrate_root": ""},
    **{"views": "", "rate": "0.001", "unsure_rate": "0.01", "stranger_rate": "0.01"},
}
_ALL = 10**6
_OF_STRANGERS = {"named": "wrong", "unsure": "unsure", "unknown": "unknown"}


def main(argv: Sequence[str]) -> None:
    """Print a table and the figures."""
    own, words = split_words(argv, _OWN)
    if not own["run"]:
        raise SettingsError("run=RUN_FOLDER is missing")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), own, words)
    for name, row in figures["libraries"].items():
        for kind, shares in row.items():
            print(
                f"{name:<8} {kind:<7}"
                + "".join(f"  {outcome} {100 * share:.1f} %" for outcome, share in shares.items())
            )
    print(json.dumps(figures))


def measure(folder: Path, own: dict[str, str], words: Sequence[str]) -> dict[str, Any]:
    """Shares by outcome for each library alone and for "all", over the queries of all directions."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    thresholds: dict[str, Threshold] = {}
    looks = 0
    for number, direction in enumerate(_directions(folder / "settings", own, words)):
        identification = Identification(folder / str(number))
        identification.active_model.change_to_run(absolute(own["run"]), own["model"], "bench", views=_views(own))
        if own["calibrate"]:
            other = [f"data.root={own['calibrate_root']}"] if own["calibrate_root"] else []
            split = f"data.eval_split={own['calibrate']}"
            pictures = _directions(folder / "settings", own, [*words, *other, split])
            rate, unsure_rate = (decimal_number(key, own[key], 0, 1) for key in ("rate", "unsure_rate"))
            calibration.calibrate(
                identification,
                pictures,
                rate=rate,
                unsure_rate=unsure_rate,
                account="bench",
                about=own["calibrate"],
                rates=Rates(stranger_rate=decimal_number("stranger_rate", own["stranger_rate"], 0, 1)),
            )
        model = identification.active_model.current()[0]
        thresholds = identification.models.identification_thresholds(model)
        for kind, row in _by_evidence(identification, direction).items():
            counts.setdefault("evidence", {}).setdefault(kind, Counter()).update(row)
        gallery: dict[int, list[Sample]] = {}
        for sample in direction.gallery:  # all images of a vehicle are one enrolment, as they are at a gate
            gallery.setdefault(sample.pid, []).append(sample)
        pids = {
            identification.enrol([_vehicle_photo(s) for s in samples], account="bench"): pid
            for pid, samples in gallery.items()
        }
        for sample in direction.query:
            looks += 1
            apart = {pid for pid, kept in gallery.items() if not any(comparable(sample, held) for held in kept)}
            found = _without(_candidates(identification, sample), pids, apart - {sample.pid})
            for name in ("all", *found):
                chosen = found if name == "all" else {name: found[name]}
                for kind, kept in (("closed", chosen), ("open", _without(chosen, pids, {sample.pid}))):
                    decision = decide(kept, thresholds)
                    outcome = decision.outcome.value
                    if decision.outcome is Outcome.match:
                        outcome = "right" if pids[decision.vehicle or 0] == sample.pid else "wrong"
                    counts.setdefault(name, {}).setdefault(kind, Counter())[outcome] += 1
        identification.close()
    outcomes = ("right", "wrong", "unsure", "unknown")
    shares = {
        name: {kind: {o: round(row[o] / row.total(), 4) for o in outcomes} for kind, row in kinds.items()}
        for name, kinds in counts.items()
    }
    matches = {name: thresholds[name].match for name in counts if name in thresholds}
    by = "evidence" if "evidence" in shares else "all"
    open_set = shares[by]["open"]
    strangers = {"named": open_set["wrong"], "unsure": open_set["unsure"], "unknown": open_set["unknown"]}
    return {
        "bench": "identify",
        "decided_by": by,
        **shares[by]["closed"],
        "strangers": {**strangers, "not_registered": 0.0},  # no plate is read here
        "queries": counts[by]["closed"].total(),
        "look_ups": looks,
        "thresholds": matches,
        "libraries": shares,
    }


def _by_evidence(identification: Identification, direction: Direction) -> dict[str, dict[str, int]]:
    """Counts of a direction's queries by outcome, decided by the sum of all evidence; none without a calibration."""
    model, recogniser = identification.active_model.current()
    evidence = identification.models.evidence(model)
    if evidence is None:
        return {}
    samples = list(dict.fromkeys((*direction.query, *direction.gallery)))
    found = embed_samples(recogniser.task, recogniser.network, samples)
    compared = of_directions(found, [direction], model.libraries)
    found_counts = outcomes(compared, evidence)
    return {
        "closed": {
            outcome: found_counts[f"residents_{outcome}"] for outcome in ("right", "wrong", "unsure", "unknown")
        },
        "open": {name: found_counts[f"strangers_{key}"] for key, name in _OF_STRANGERS.items()},
    }


def _views(own: dict[str, str]) -> int | None:
    return whole_number("views", own["views"], 1, 4) if own["views"] else None


def _directions(folder: Path, own: dict[str, str], words: Sequence[str]) -> list[Direction]:
    identification = Identification(folder)
    identification.active_model.change_to_run(absolute(own["run"]), own["model"], "bench", views=_views(own))
    settings = with_overrides(identification.active_model.current()[1].settings.as_dict(), words)
    identification.close()
    return open_source(settings.data, settings.seed).evaluation(settings.data.eval_split)


def _candidates(identification: Identification, sample: Sample) -> dict[str, list[Candidate]]:
    """All vehicles of each library, so that some can be left out."""
    model, recogniser = identification.active_model.current()
    [vectors] = recogniser.embed_files([sample])
    if vectors is None:
        raise BenchError(f"{sample.path}: cannot be read")
    return identification.candidates(model, [vectors], sample.modality, limit=_ALL)


def _without(found: dict[str, list[Candidate]], pids: dict[int, int], apart: set[int]) -> dict[str, list[Candidate]]:
    return {name: [row for row in rows if pids[row.vehicle] not in apart] for name, rows in found.items()}


def _vehicle_photo(sample: Sample) -> VehiclePhoto:
    plate = read_photo(sample.plate_path) if sample.plate_path else None
    box = sample.plate_boxes[0] if sample.plate_boxes and plate is None else None
    return VehiclePhoto(read_photo(sample.path), sample.vehicle_box, plate, box, sample.modality)


if __name__ == "__main__":
    command(main, sys.argv[1:])
