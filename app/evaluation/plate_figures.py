"""Figure of plates with their recognised texts, and of accuracy against the share of texts kept."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from app.core.sample import Sample
from app.data.crops import ImageReader
from app.evaluation.plate_texts import PlateReading, refusal_curve
from models.alphabet import plain

_COLUMNS = 4
_RIGHT, _WRONG = "#1a9641", "#d7191c"


def readings_picture(
    read: Sequence[tuple[Sample, PlateReading]],
    shown: Sequence[int],
    image_reader: ImageReader,
    path: Path,
    *,
    title: str,
) -> None:
    """Write a PNG: accuracy against the share of plates kept, and below it the plates in places `shown` of `read` with
    their texts, solid green if right and dashed red if wrong."""
    correct = [reading.text == plain(sample.plate_text or "") for sample, reading in read]
    shares, accuracies = refusal_curve(correct, [reading.confidence for _, reading in read])
    rows = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(10, 3 + 1.3 * rows), layout="constrained")
    grid = figure.add_gridspec(rows + 1, _COLUMNS, height_ratios=[3, *[1.3] * rows])
    axes = figure.add_subplot(grid[0, :])
    axes.plot(shares, accuracies, color=_RIGHT)
    axes.set(xlabel="share of the plates kept", ylabel="accuracy of those", xlim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    for index, place in enumerate(shown):
        sample, reading = read[place]
        image = image_reader.plate(sample)
        cell = figure.add_subplot(grid[1 + index // _COLUMNS, index % _COLUMNS])
        if image is not None:
            cell.imshow(image.permute(1, 2, 0).numpy())
        cell.set(xticks=[], yticks=[])
        cell.set_xlabel(f"{_shown(reading.text)}  {100 * reading.confidence:.0f} %", fontsize=9)
        for spine in cell.spines.values():
            spine.set(color=_RIGHT if correct[place] else _WRONG, linewidth=2)
            spine.set_linestyle("-" if correct[place] else "--")
    figure.savefig(path, dpi=110)


def _shown(text: str) -> str:
    """Matplotlib's own font has no Chinese characters: they are shown by their code points."""
    return "".join(c if c.isascii() else f"<{ord(c):X}>" for c in text) or "(nothing)"
