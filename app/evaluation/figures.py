"""Figures of a run: the nearest gallery images of a few queries, and curves over rounds."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps

from app.core.sample import Sample
from app.data.weather import shown_in_weather
from app.evaluation.ids import NO_SEQUENCE
from app.images.decode import open_image, upright_rgb

_MATCH, _MISS, _QUERY = "#1a9641", "#d7191c", "#404040"
_CELL = 128  # pixels, the longer side of a shown image
_STYLES = ("-", "--", "-.", ":")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito, safe for colour-blind


def pick_queries(
    *, q_pids: ArrayLike, q_camids: ArrayLike, g_pids: ArrayLike, g_camids: ArrayLike, count: int, seed: int
) -> list[int]:
    """Indices, ascending, of `count` queries that have a true match in another camera; all of them if fewer."""
    g_pids, g_camids = np.asarray(g_pids), np.asarray(g_camids)
    cameras_of: dict[int, set[int]] = {}
    for pid, camid in zip(g_pids.tolist(), g_camids.tolist(), strict=True):
        cameras_of.setdefault(pid, set()).add(camid)
    pairs = zip(np.asarray(q_pids).tolist(), np.asarray(q_camids).tolist(), strict=True)
    valid = [i for i, (pid, camid) in enumerate(pairs) if cameras_of.get(pid, set()) - {camid}]
    return sorted(np.random.default_rng(seed).permutation(valid)[:count].astype(int).tolist())


def nearest_in_gallery(
    dist: ArrayLike,
    *,
    pid: int,
    camid: int,
    g_pids: ArrayLike,
    g_camids: ArrayLike,
    sequence: int = NO_SEQUENCE,
    g_sequences: ArrayLike | None = None,
    count: int = 10,
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The `count` nearest of one query, by its distances (G,), and whether each is a true match.

    Images of the query's vehicle in its own camera are left out, and of others in its own sequence. Of equal
    distances non-matches come first, as in `evaluate_ranking`; then the order is the gallery's.
    """
    dist, g_pids, g_camids = np.asarray(dist), np.asarray(g_pids), np.asarray(g_camids)
    same = g_pids == pid
    left_out = same & (g_camids == camid)
    if g_sequences is not None and sequence != NO_SEQUENCE:
        left_out |= ~same & (np.asarray(g_sequences) == sequence)
    kept = np.flatnonzero(~left_out)
    nearest = kept[np.lexsort((same[kept], dist[kept]))[:count]]
    return nearest, same[nearest]


def ranked_list_picture(
    queries: Sequence[Sample],
    ranked: Sequence[Sequence[Sample]],
    matches: Sequence[Sequence[bool]],
    path: Path,
    *,
    caption: str,
) -> None:
    """Write a PNG with one row a query: the query, then its nearest images from left to right.

    True matches have a solid green frame and a check mark, others a dashed red frame and a cross. Samples with a
    vehicle box are cropped to it. Raises ValueError if there is no query or the sequences differ in length.
    """
    if not queries:
        raise ValueError("no query to show")
    num_ranks = max(1, *map(len, ranked))
    figure = Figure(figsize=(1.15 * (num_ranks + 1) + 0.4, 1.4 * len(queries) + 0.8), dpi=110, layout="constrained")
    width = int(11 * figure.get_figwidth())  # characters of the caption's size in one line
    figure.suptitle(textwrap.fill(caption, width), fontsize=10)
    widths = [1.0, 0.12, *[1.0] * num_ranks]  # a gap between the query and its list
    grid = figure.subplots(len(queries), num_ranks + 2, squeeze=False, width_ratios=widths)
    for axes in grid.flat:
        axes.axis("off")
    for cells, query, samples, hits in zip(grid, queries, ranked, matches, strict=True):
        _show(cells[0], query, f"query, cam {query.camid}", _QUERY, "-")
        for rank, (axes, sample, hit) in enumerate(zip(cells[2:], samples, hits, strict=False), start=1):
            colour, style, mark = (_MATCH, "-", "\N{CHECK MARK}") if hit else (_MISS, (0, (3, 2)), "\N{BALLOT X}")
            _show(axes, sample, f"{rank} {mark} cam {sample.camid}", colour, style)
        if len(samples) != len(hits):
            raise ValueError(f"{len(samples)} ranked samples but {len(hits)} matches for query {query.path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def curves_picture(
    history: Mapping[str, Sequence[tuple[float, float]]], path: Path, *, x_label: str, y_label: str, title: str
) -> None:
    """Write a PNG with one curve for each name, distinguished by dashes and markers as well as by colour.

    Points that are not finite leave a gap. Raises ValueError if there is no curve.
    """
    if not history:
        raise ValueError("no curve to draw")
    figure = Figure(figsize=(7.5, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    for i, (name, points) in enumerate(history.items()):
        x, y = np.array(points, float).reshape(-1, 2).T
        marker = "osD^vPX*"[i % 8] if len(x) <= 40 else None  # on long curves markers would hide the line
        colour, style = _COLOURS[i % len(_COLOURS)], _STYLES[i % len(_STYLES)]
        axes.plot(x, y, style, color=colour, marker=marker, markersize=5, linewidth=1.8, label=name)
    if all(float(x).is_integer() for points in history.values() for x, _ in points):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_title(textwrap.fill(title, 80), fontsize=11)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(history) > 6:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    else:
        axes.legend(frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _show(axes: Axes, sample: Sample, label: str, colour: str, style: object) -> None:
    axes.axis("on")
    axes.imshow(_thumbnail(sample))
    axes.set(xticks=[], yticks=[])
    axes.set_title(label, fontsize=7, color=colour, pad=3)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.5, linestyle=style)


def _thumbnail(sample: Sample) -> Image.Image:
    """The vehicle of `sample`, in its weather, inside a grey square of `_CELL` pixels, not stretched."""
    with open_image(sample.path) as file:
        image = upright_rgb(file)
    if (box := sample.vehicle_box) is not None:
        left, top = max(0, round(box.left)), max(0, round(box.top))
        right, bottom = round(box.left + box.width), round(box.top + box.height)
        image = image.crop((left, top, min(right, image.width), min(bottom, image.height)))
    return ImageOps.pad(shown_in_weather(image, sample), (_CELL, _CELL), color=(225, 225, 225))
