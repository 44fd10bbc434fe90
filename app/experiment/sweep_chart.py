"""Chart of a sweep: the measure over each key that was changed, and over the bytes that it cost."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.experiment.sweeps import Row, is_seed

_MOST = 5  # keys with a panel of their own
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito, safe for colour-blind
_MARKS = ("o", "s", "^", "D", "v", "P")


def sweep_chart(rows: Sequence[Row], path: Path) -> bool:
    """Write a PNG with a panel a key, and one of bytes against the measure; False if no job has ended.

    Seeds have no panel: their jobs are points above the same value."""
    ended = [row for row in rows if row.models]
    if not ended:
        return False
    keys = [key for key in dict.fromkeys(key for row in ended for key in row.keys) if not is_seed(key)][:_MOST]
    figure = Figure(figsize=(4.6 * (len(keys) + 1), 3.8), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(keys) + 1, squeeze=False)[0]
    for panel, key in zip(panels, keys, strict=False):
        _over_key(panel, ended, key)
    _over_bytes(panels[-1], ended)
    panels[0].set_ylabel(f"{ended[0].headline}, %")
    panels[0].legend(fontsize=8)
    figure.savefig(path)
    return True


def _over_key(panel: Axes, rows: Sequence[Row], key: str) -> None:
    """Numbers on a line, other values side by side."""
    values = list(dict.fromkeys(row.keys.get(key, "") for row in rows))
    numbers = {value: number for value in values if (number := _number(value)) is not None}
    places = numbers if len(numbers) == len(values) else {value: float(i) for i, value in enumerate(values)}
    _points(panel, rows, [places[row.keys.get(key, "")] for row in rows])
    if places is numbers and min(numbers.values()) > 0 and max(numbers.values()) >= 30 * min(numbers.values()):
        panel.set_xscale("log")
    panel.set_xticks(list(places.values()), [value or "default" for value in places], fontsize=8)
    panel.set_xlabel(key)


def _over_bytes(panel: Axes, rows: Sequence[Row]) -> None:
    _points(panel, rows, [row.mb_up for row in rows], names=("global",))
    panel.set_xlabel("MB up, all clients and rounds")


def _points(panel: Axes, rows: Sequence[Row], at: Sequence[float], names: Sequence[str] | None = None) -> None:
    found = list(dict.fromkeys(name for row in rows for name in row.models))
    for number, name in enumerate(found):
        if names is not None and name not in names:
            continue
        points = [(place, 100 * row.models[name]) for place, row in zip(at, rows, strict=True) if name in row.models]
        x, y = zip(*points, strict=True)
        colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
        # Hollow, so that of models that measure alike each is seen.
        panel.plot(x, y, linestyle="", label=name, alpha=0.8, color=colour, marker=mark, fillstyle="none")
    panel.grid(alpha=0.3)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None  # "inf" has no place on a line
