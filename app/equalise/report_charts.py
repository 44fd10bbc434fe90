"""Charts of an equalisation: images of each vehicle, cosines, and examples."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator
from numpy import linspace
from PIL import Image

from app.core.sample import Sample
from app.equalise.report_examples import (
    Pair,
    Record,
    VehicleCounts,
    enhanced_pairs,
    suspect_pairs,
    thumbnail,
    vehicle_counts,
)
from app.equalise.store import EnhancedFiles

_OWN, _ENHANCED, _OUT, _LINE = "#0072b2", "#e69f00", "#d55e00", "#404040"  # Okabe and Ito, safe for colour-blind
_MADE, _LEFT = "///", "xxx"  # hatches: the parts can be distinguished without colours
_CELL = 128  # pixels, the longer side of a shown image
_PAIRS = 6  # in a strip
_BINS = 40


def report_picture(record: Record, samples: Sequence[Sample], files: EnhancedFiles, path: Path, *, title: str) -> None:
    """Write a PNG: the charts, and below them strips of images kept, refused and doubted, in pairs."""
    figure = Figure(figsize=(13, 8.6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    rows = figure.add_gridspec(4, 1, height_ratios=[3.1, 1, 1, 1])
    charts, kept, refused, doubted = (figure.add_subfigure(rows[place, 0]) for place in range(4))
    _charts(charts, record, samples)
    made = enhanced_pairs(record["kept"], samples, files, _PAIRS)
    _strip(kept, made, f"kept, {len(record['kept'])} in all: an image, its enhanced copy, the cosine")
    others = enhanced_pairs(record["refused"], samples, files, _PAIRS)
    refusals = len(record["drawn"]) - len(record["kept"])
    _strip(refused, others, f"refused, {refusals} in all: an image, its enhanced copy, the cosine")
    suspects = suspect_pairs(record, samples)
    words = f"labels in doubt, {len(suspects)} in all: an image with its cosine, and the vehicle that it is nearer to"
    _strip(doubted, suspects[:_PAIRS], words)
    figure.savefig(path, dpi=100, format="png")


def charts_png(record: Record, samples: Sequence[Sample]) -> bytes:
    """The charts alone, as the bytes of a PNG."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    _charts(figure, record, samples)
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png")
    return file.getvalue()


def _charts(figure: FigureBase, record: Record, samples: Sequence[Sample]) -> None:
    """Images of each vehicle before and after, and cosines to the centre."""
    counts = vehicle_counts(record, samples)
    grid = figure.add_gridspec(1, 3)
    before = figure.add_subplot(grid[0, 0])
    after = figure.add_subplot(grid[0, 1], sharex=before, sharey=before)
    _bars(before, counts, record["target"], after=False)
    _bars(after, counts, record["target"], after=True)
    _cosines(figure.add_subplot(grid[0, 2]), record)


def _bars(axes: Axes, counts: VehicleCounts, target: int | None, *, after: bool) -> None:
    """One step a vehicle, in the order of the images it has before."""

    def part(top: Sequence[int], bottom: Sequence[int], colour: str, hatch: str, label: str) -> None:
        if any(high > low for high, low in zip(top, bottom, strict=True)):
            axes.stairs(  # areas: bars of a thousand vehicles would be too thin for a hatch
                top,
                baseline=bottom,
                fill=True,
                facecolor=colour,
                edgecolor=_LINE if hatch else colour,
                hatch=hatch,
                linewidth=0,
                label=label,
            )

    own, floor = counts.own.tolist(), [0] * len(counts.own)
    part(own, floor, _OWN, "", "own")
    if after:
        part(counts.after.tolist(), own, _ENHANCED, _MADE, "enhanced")
    else:
        part(counts.before.tolist(), own, _OUT, _LEFT, "own, left out of training")
    if target is not None:
        axes.axhline(target, color=_LINE, linestyle="--", label=f"target {target}")
    images = int((counts.after if after else counts.before).sum())
    axes.set(xlabel="vehicles, most images first", ylabel="images")
    axes.set_title(f"{'after' if after else 'before'}: {images} images", fontsize=10)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _cosines(axes: Axes, record: Record) -> None:
    """Histograms of own images and of enhanced ones that were kept, with threshold and interval."""
    own = [float(value) for value in record["own"] if value is not None]
    kept = [float(row["cosine"]) for row in record["kept"]]
    low, high = record["interval"]
    drawn = [float(value) for value in record["drawn"]]
    bins = linspace(min([*own, *kept, *drawn, low, record["threshold"]]), max([1.0, *own, *kept]), _BINS + 1).tolist()
    parts = (
        (own, _OWN, "", "own"),
        (drawn, _OUT, _LEFT, "enhanced, all candidates"),
        (kept, _ENHANCED, _MADE, "enhanced, kept"),
    )
    for values, colour, hatch, name in parts:
        if values:
            axes.hist(
                values,
                bins,
                weights=[100 / len(values)] * len(values),
                histtype="stepfilled",
                facecolor=colour,
                edgecolor=_LINE,
                hatch=hatch,
                alpha=0.7,
                label=f"{name}: {len(values)}",
            )
    if own:
        axes.axvline(record["threshold"], color=_LINE, label=f"base images above {record['threshold']:.3f}")
    axes.axvline(low, color=_LINE, linestyle=":", label=f"enhanced between {low:g} and {high:g}")
    axes.axvline(high, color=_LINE, linestyle=":")
    axes.set(xlabel="cosine to the vehicle's centre", ylabel="share of the images, %")
    axes.set_title("distance of images from their vehicle's centre", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")


def _strip(figure: FigureBase, pairs: Sequence[Pair], title: str) -> None:
    """A row of pairs, each followed by a gap; "none" where there is nothing to show."""
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    grid = figure.add_gridspec(1, 3 * _PAIRS - 1, width_ratios=([1, 1, 0.15] * _PAIRS)[:-1])
    if not pairs:
        axes = figure.add_subplot(grid[0, 0])
        axes.axis("off")
        axes.text(0, 0.5, "none", fontsize=10)
    for number, pair in enumerate(pairs):
        made = pair.other is not None and pair.other.enhanced
        cosine = f"{pair.cosine:.3f}"
        left = figure.add_subplot(grid[0, 3 * number])
        _cell(left, pair.own, f"{pair.own.pid}" if made else f"{pair.own.pid}, {cosine}")
        if pair.other is not None:
            right = figure.add_subplot(grid[0, 3 * number + 1])
            _cell(right, pair.other, cosine if made else f"nearer: {pair.other.pid}")
        elif not made:
            axes = figure.add_subplot(grid[0, 3 * number + 1])
            axes.axis("off")
            axes.text(0, 0.5, "near to\nno other", fontsize=8)


def _cell(axes: Axes, sample: Sample, words: str) -> None:
    """An image, or an empty frame where it cannot be read, with words below it."""
    image = thumbnail(sample, _CELL)
    if image is None:
        axes.text(0.5, 0.5, "cannot\nbe read", ha="center", va="center", fontsize=7, transform=axes.transAxes)
        axes.set_aspect("equal")
    else:
        axes.imshow(_on_square(image))
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(words, fontsize=8, labelpad=2)


def _on_square(image: Image.Image) -> Image.Image:
    """In the middle of a grey square, not stretched, so that all cells of a strip are as high."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), (225, 225, 225))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
