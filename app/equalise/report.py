"""Report of an equalisation, as a chart and as a page, for the owners of the images.

Both show vehicles: they stay where the images are.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined

from app.core.files import replacing
from app.core.sample import Sample
from app.equalise.report_charts import charts_png, report_picture
from app.equalise.report_examples import (
    Pair,
    Record,
    enhanced_pairs,
    suspect_pairs,
    thumbnail,
    vehicle_counts,
)
from app.equalise.report_page import PAGE
from app.equalise.store import EnhancedFiles

_KEPT, _REFUSED, _SUSPECTS = 24, 12, 60  # shown with images, at most: a page of one or two megabytes
_SIDE, _QUALITY = 112, 75  # pixels of a thumbnail's longer side, and of its JPEG
_SECONDS = {
    "pre_model": "Training or loading the pre-model",
    "embed": "Embedding",
    "enhance": "Enhancement",
    "rest": "Everything else",
}


@dataclass(frozen=True)
class Shown:
    """An image in the page.

    Args:
        uri: of a thumbnail; "" where there is none.
        alt: description; without a thumbnail, the reason for that.
    """

    uri: str
    alt: str


def write_report(record: Record, samples: Sequence[Sample], files: EnhancedFiles, folder: Path, *, title: str) -> Path:
    """Write `report.png` and `report.html` into a folder, which is created if missing; returns the path of the page.

    An image that cannot be read is an empty cell.

    Args:
        record: of an equalisation.
        samples: the client's own images, indexed by the record's places.
        files: the folder of the enhanced ones.

    Raises ValueError if the record is about another number of images, OSError where the folder cannot be written."""
    if len(record["own"]) != len(samples):
        raise ValueError(f"the record is about {len(record['own'])} images, there are {len(samples)}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(folder / "report.png") as temporary:
        report_picture(record, samples, files, temporary, title=title)
    with replacing(folder / "report.html") as temporary:
        # A file name need not be valid text; the page has to be.
        temporary.write_bytes(report_page(record, samples, files, title=title).encode("utf-8", "backslashreplace"))
    return folder / "report.html"


def report_page(record: Record, samples: Sequence[Sample], files: EnhancedFiles, *, title: str) -> str:
    """The page, with all its images inside."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    suspects = suspect_pairs(record, samples)
    out = set(record["left_out"])
    return environment.from_string(PAGE).render(
        title=title,
        warnings=record["warnings"],
        numbers=_numbers(record, samples),
        seconds=[(_SECONDS.get(name, name), f"{value:.1f} s") for name, value in record["seconds"].items()],
        charts=f"data:image/png;base64,{base64.b64encode(charts_png(record, samples)).decode()}",
        kept=[_enhanced(pair) for pair in enhanced_pairs(record["kept"], samples, files, _KEPT)],
        refused=[_enhanced(pair) for pair in enhanced_pairs(record["refused"], samples, files, _REFUSED)],
        interval=record["interval"],
        suspects=[
            {**_suspect(pair, with_images=number < _SUSPECTS), "left_out": pair.place in out}
            for number, pair in enumerate(suspects)
        ],
        shown=_SUSPECTS,
    )


def _numbers(record: Record, samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """Counts and rules, in words."""
    counts, target = vehicle_counts(record, samples), record["target"]
    infrared = any(sample.modality == "infrared" for sample in samples)
    low, high = record["interval"]
    rows = [
        ("Images before", str(len(samples))),
        ("Vehicles, each modality counted by itself" if infrared else "Vehicles", str(len(counts.before))),
        ("Images that could be embedded", str(sum(value is not None for value in record["own"]))),
        ("Embeddings compared", record["library"]),
        ("A base image's cosine to its vehicle's centre is above", f"{record['threshold']:.3f}"),
        ("Base images", str(len(record["base"]))),
        ("Images whose label is in doubt", str(len(record["suspects"]))),
        ("Images left out of training", str(len(record["left_out"]))),
        ("Images that a vehicle is to have (target)", "as many as it has" if target is None else str(target)),
        ("An enhanced image's cosine lies between", f"{low:g} and {high:g}"),
        ("Enhanced images kept", str(len(record["kept"]))),
        ("Enhanced images refused", str(len(record["drawn"]) - len(record["kept"]))),
        ("Images after", str(int(counts.after.sum()))),
    ]
    if target is not None:
        for name, values in (("before", counts.before), ("after", counts.after)):
            rows.append((f"Vehicles below the target {name}", str(int(np.sum(values < target)))))
    return rows


def _enhanced(pair: Pair) -> dict[str, object]:
    """One example of an enhanced image, for the page."""
    assert pair.other is not None
    return {
        "own": _shown(pair.own, f"{_named(pair.own)}, as the site has it"),
        "made": _shown(pair.other, f"{_named(pair.own)}, enhanced"),
        "pid": pair.own.pid,
        "cosine": f"{pair.cosine:.3f}",
    }


def _suspect(pair: Pair, *, with_images: bool) -> dict[str, object]:
    """One row of the table of suspects."""
    other = pair.other

    def cell(sample: Sample | None, words: str) -> Shown:
        if sample is None:
            return Shown("", "none")
        return _shown(sample, words) if with_images else Shown("", "not shown")

    return {
        "own": cell(pair.own, f"Image labelled {_named(pair.own)}"),
        "other": cell(other, f"An image of {_named(other)}" if other else ""),
        "path": str(pair.own.path),
        "pid": pair.own.pid,
        "camid": pair.own.camid,
        "nearer": None if other is None else other.pid,
        "cosine": f"{pair.cosine:.3f}",
        "gap": "" if pair.gap is None or other is None else f"{pair.gap:.3f}",
    }


def _named(sample: Sample) -> str:
    return f"vehicle {sample.pid}" + (" in infrared" if sample.modality == "infrared" else "")


def _shown(sample: Sample, words: str) -> Shown:
    image = thumbnail(sample, _SIDE)
    if image is None:
        return Shown("", "cannot be read")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return Shown(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}", words)
