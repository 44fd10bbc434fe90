"""Accuracy of a register: the first camera enrolled, the second as queries, and the other way round.

Run: python -m scripts.bench.identify run=outputs/two_cam/<time> data=two_cam data.eval_split=test calibrate=val
`model=global` (default) or another checkpoint of the run. Thresholds are calibrated on the split `calibrate` of the
same set (`rate=0.001`, `unsure_rate=0.01`, and `stranger_rate=0.01` of the sum of all evidence); without it they are
0.9, and there is no sum; `calibrate_root=FOLDER` for a set elsewhere, `calibrate_with='KEY=VALUE ...'` for other
settings of its data. `views=4` is another number of views of an image than the run's. `reader=RUN
reader_model=global` reads plates, whose texts count in the sum from the confidence `sure=0.9` on. Closed set: every
query's vehicle is enrolled. Open set: its own vehicle is left out, so that every match is a false one. The last line
is one JSON object: shares of queries by outcome, as the register decides; then all libraries in turn and each alone
by its threshold of similarity; then each source of evidence, and their sum: Cllr, reliability, and what the source
alone would have answered, calibrated as the sum is; queries for which it has nothing are unsure.
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
from app.evaluation.reading_errors import measure_errors
from app.register import calibrate as calibration
from app.register.calibrate_evidence import Rates, fit_alone, outcomes, right_at
from app.register.comparisons import of_directions
from app.register.identification import Identification
from app.register.matcher import Candidate, Outcome, decide
from app.register.photos import VehiclePhoto, read_photo
from app.register.trials import Trial, alone, read_texts, trials_of
from app.register.weighed import SUM, sources
from app.settings.checks import SettingsError
from app.settings.load import absolute
from app.settings.stored import with_overrides
from app.tasks.image_files import embed_samples
from models.alphabet import plain
from scripts.bench.errors import BenchError
from scripts.command import command, decimal_number, split_words, whole_number

_OWN = {
    **{"run": "", "model": "global", "views": "", "calibrate": "", "calibrate_root": "", "calibrate_with": ""},
    **{"rate": "0.001", "unsure_rate": "0.01", "stranger_rate": "0.01"},
    **{"reader": "", "reader_model": "global", "sure": "0.9"},
}
_ALL = 10**6
_ANSWERS = ("right", "wrong", "unsure", "unknown", "not_registered")


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
    for name, row in figures["sources"].items():
        kinds = figures["libraries"]["evidence"] if name == SUM else row
        print(
            f"{name:<10} Cllr {row['cllr']:.3f}  residents right {100 * kinds['closed']['right']:.1f} %  "
            f"wrong {100 * kinds['closed']['wrong']:.1f} %  strangers named {100 * kinds['open']['wrong']:.1f} %  "
            f"right at 1 and 5 % of strangers {100 * row['right_at_1']:.1f} %, {100 * row['right_at_5']:.1f} %"
        )
    print(json.dumps(figures))


def measure(folder: Path, own: dict[str, str], words: Sequence[str]) -> dict[str, Any]:
    """Shares by outcome for each library alone and for "all", over the queries of all directions; and, with a
    calibration, those of all evidence and of each of its sources alone."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    looks = 0
    identification = Identification(folder / "calibrated")
    _use_networks(identification, own)
    directions = _directions(identification, words)
    measured = _calibrate(identification, own, words, directions) if own["calibrate"] else {}
    thresholds = identification.models.identification_thresholds(identification.active_model.current()[0])
    identification.close()
    if measured:
        counts["evidence"] = {kind: measured[SUM].pop(kind) for kind in ("closed", "open")}
    for number, direction in enumerate(directions):
        identification = Identification(folder / str(number))
        _use_networks(identification, own)
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

    def shares(rows: dict[str, Counter[str]]) -> dict[str, dict[str, float]]:
        return {kind: {o: round(row[o] / row.total(), 4) for o in _ANSWERS} for kind, row in rows.items()}

    libraries = {name: shares(kinds) for name, kinds in counts.items()}
    matches = {name: thresholds[name].match for name in counts if name in thresholds}
    by = "evidence" if "evidence" in libraries else "all"
    named = {"wrong": "named"}
    strangers = {named.get(o, o): share for o, share in libraries[by]["open"].items() if o != "right"}
    by_source = {
        name: {**row, **shares({kind: row[kind] for kind in ("closed", "open") if kind in row})}
        for name, row in measured.items()
    }
    return {
        "bench": "identify",
        "decided_by": by,
        **libraries[by]["closed"],
        "strangers": strangers,
        "queries": counts[by]["closed"].total(),
        "look_ups": looks,
        "thresholds": matches,
        "libraries": libraries,
        "sources": by_source,
    }


def _use_networks(identification: Identification, own: dict[str, str]) -> None:
    views = whole_number("views", own["views"], 1, 4) if own["views"] else None
    identification.active_model.change_to_run(absolute(own["run"]), own["model"], "bench", views=views)
    if own["reader"]:
        identification.plate_reader.use(absolute(own["reader"]), own["reader_model"], "bench")
        identification.plate_reader.set_min_confidence(decimal_number("sure", own["sure"], 0, 1), "bench")


def _calibrate(
    identification: Identification, own: dict[str, str], words: Sequence[str], directions: Sequence[Direction]
) -> dict[str, dict[str, Any]]:
    """Calibrate on the split `calibrate`, and measure all evidence and its sources on the directions; nothing where too
    few vehicles can be compared."""
    other = [f"data.root={own['calibrate_root']}"] if own["calibrate_root"] else []
    split = f"data.eval_split={own['calibrate']}"
    known = _directions(identification, [*words, *own["calibrate_with"].split(), *other, split])
    rate, unsure_rate = (decimal_number(key, own[key], 0, 1) for key in ("rate", "unsure_rate"))
    if own["reader"]:
        asked = list(dict.fromkeys(s for each in known for s in (*each.query, *each.gallery) if s.plate_text))
        readings = identification.plate_reader.read_files(asked, 0.0)
        errors = measure_errors([(reading, plain(s.plate_text or "")) for s, reading in readings.items()])
        identification.plate_reader.use(absolute(own["reader"]), own["reader_model"], "bench", errors)
    rates = Rates(stranger_rate=decimal_number("stranger_rate", own["stranger_rate"], 0, 1))
    calibration.calibrate(
        identification,
        known,
        rate=rate,
        unsure_rate=unsure_rate,
        account="bench",
        about=own["calibrate"],
        rates=rates,
    )
    evidence = identification.models.evidence(identification.active_model.current()[0])
    if evidence is None:
        return {}
    trials, set_by = _trials(identification, directions), _trials(identification, known)
    measured = sources(trials, evidence)
    for source, row in measured.items():
        used, by = trials, evidence
        if source != SUM:
            used, by = alone(trials, source), fit_alone(set_by, source, rates)
        row |= _counted(outcomes(used, by), len(trials) - len(used))
        row |= {
            f"right_at_{100 * at:.0f}": round(len(used) / len(trials) * right_at(used, by, at), 4)
            for at in (0.01, 0.05)
        }
    return measured


def _counted(found: dict[str, int], silent: int) -> dict[str, Counter[str]]:
    """Counts by outcome, closed and open set; queries for which the source has nothing are unsure."""
    closed = Counter({answer: found[f"residents_{answer}"] for answer in _ANSWERS})
    of_strangers = {"wrong": "named"}
    open_set = Counter({o: found[f"strangers_{of_strangers.get(o, o)}"] for o in _ANSWERS if o != "right"})
    closed["unsure"] += silent
    open_set["unsure"] += silent
    return {"closed": closed, "open": open_set}


def _trials(identification: Identification, directions: Sequence[Direction]) -> list[Trial]:
    model, recogniser = identification.active_model.current()
    samples = list(dict.fromkeys(s for each in directions for s in (*each.query, *each.gallery)))
    found = embed_samples(recogniser.task, recogniser.network, samples)
    reader = identification.plate_reader
    texts = read_texts(directions, reader.read_files(samples), reader.errors)
    return trials_of(of_directions(found, directions, model.libraries), texts)


def _directions(identification: Identification, words: Sequence[str]) -> list[Direction]:
    settings = with_overrides(identification.active_model.current()[1].settings.as_dict(), words)
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
