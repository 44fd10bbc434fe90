"""Charts of a calibration: similarities of same and different vehicles, and the trade-off of the threshold."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.evaluation.calibration import Similarities, false_match_rate, miss_rate, trade_off

_SAME, _DIFFERENT, _LINE = "#0072b2", "#d55e00", "#404040"
_BINS = 60


def calibration_picture(measured: Similarities, match: float, unsure: float, path: Path, *, title: str) -> None:
    """Write a PNG: histograms with the thresholds, the DET curve, the ROC curve."""
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    histogram, det, roc = figure.subplots(1, 3)
    _histogram(histogram, measured, match, unsure)
    matched, missed = trade_off(measured)
    at = false_match_rate(measured, match).share, miss_rate(measured, match).share
    least = 1 / len(measured.different)  # a rate of zero has no place on a logarithmic axis
    det.plot(np.maximum(matched, least), 100 * missed, color=_SAME)
    det.plot(max(at[0], least), 100 * at[1], "o", color=_LINE, label=f"threshold {match:.3f}")
    det.set(xscale="log", xlabel="false-match rate", ylabel="miss rate, %", title="DET")
    roc.plot(100 * matched, 100 * (1 - missed), color=_SAME)
    roc.plot(100 * at[0], 100 * (1 - at[1]), "o", color=_LINE, label=f"threshold {match:.3f}")
    roc.set(xlabel="false-match rate, %", ylabel="matched, %", title="ROC")
    for axes in (histogram, det, roc):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=100)


def _histogram(axes: Axes, measured: Similarities, match: float, unsure: float) -> None:
    low = min(measured.same.min(), measured.different.min())
    bins = np.linspace(low, max(1.0, measured.same.max()), _BINS).tolist()
    for values, colour, name in ((measured.different, _DIFFERENT, "different"), (measured.same, _SAME, "same")):
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, bins, weights=weights, color=colour, alpha=0.6, label=f"{name}: {len(values)} pairs")
    axes.axvline(match, color=_LINE, label=f"match from {match:.3f}")
    axes.axvline(unsure, color=_LINE, linestyle="--", label=f"unsure from {unsure:.3f}")
    axes.set(xlabel="cosine similarity", ylabel="share of pairs, %", title="same and different vehicles")
