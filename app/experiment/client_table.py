"""Figures of each client: every model on the test images of the client's own place and on those of all clients."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.core.files import replacing
from app.data.partition import shown_clients
from app.experiment.own_tests import OWN, OWN_REASON, PLACE

SHOWN = ("stand_alone", "global", "local", "personalised")
"""Models of the table, in its order."""
UNION = "union"
Figures = dict[str, Any]


def client_figures(models: Mapping[str, Mapping[str, Any]], headline: str) -> Figures:
    """The headline measure by client, model and test set, the worst client and the spread of each column; {} for models
    without figures by client.

    The spread is the standard deviation over the clients."""
    reason = next((row[OWN_REASON] for row in models.values() if row.get(OWN_REASON)), "")
    rows: dict[str, Figures] = {}
    for model in (name for name in SHOWN if name in models):
        for client, row in _rows(models[model]).items():
            shown = rows.setdefault(client, {})
            own = row.get(OWN, {})
            if PLACE in own:
                shown[PLACE] = own[PLACE]
            figures = {OWN: own.get(headline), UNION: row.get(headline)}
            shown[model] = {name: float(value) for name, value in figures.items() if value is not None}
            if "choice" in row:
                shown["chosen"] = row["choice"]["chosen"]
    if not rows:
        return {}
    found: Figures = {"measure": headline, "clients": dict(sorted(rows.items())), "columns": {}}
    for model, scope in _columns(rows.values()):
        values = {c: row[model][scope] for c, row in rows.items() if scope in row.get(model, {})}
        worst = min(values, key=lambda client: values[client])
        figures = {"worst": worst, "lowest": values[worst], "mean": float(np.mean(list(values.values())))}
        spread = float(np.std(list(values.values()), ddof=1)) if len(values) > 1 else 0.0
        found["columns"][f"{model} {scope}"] = {**figures, "spread": spread}
    return {**found, OWN_REASON: reason} if reason else found


def client_text(figures: Figures) -> str:
    """The figures as plain text, a line a client, in per cent."""
    rows = figures["clients"]
    columns = [name.split(" ") for name in figures["columns"]]
    heads = ["client", *(f"{model} {scope}" for model, scope in columns)]
    chosen = any("chosen" in row for row in rows.values())
    lines = [[*heads, *(["chosen"] if chosen else [])]]
    listed = [list(rows)[number] for number in shown_clients(len(rows))]
    for client, row in ((client, rows[client]) for client in listed):
        name = f"{client} {row[PLACE]}" if PLACE in row else client
        cells = [_percent(row.get(model, {}).get(scope)) for model, scope in columns]
        lines.append([name, *cells, *([row.get("chosen", "-")] if chosen else [])])
    summed = figures["columns"].values()
    lines.append(["worst client", *(each["worst"] for each in summed), *([""] if chosen else [])])
    for name in ("lowest", "mean", "spread"):
        lines.append([name, *(_percent(each[name]) for each in summed), *([""] if chosen else [])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    if len(listed) < len(rows):
        text.append(f"{len(listed)} of {len(rows):,} clients are shown, all of them count; clients.csv has each")
    if reason := figures.get(OWN_REASON):
        text.append(f"no figures of a client's own images: {reason}")
    return "\n".join([f"{figures['measure']} by client:", *text])


def write_client_csv(figures: Figures, path: Path) -> None:
    """`clients.csv`: a row for each client, model and test set."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["client", PLACE, "model", "images", figures["measure"], "chosen"])
        for client, row in figures["clients"].items():
            for model in (name for name in SHOWN if name in row):
                for scope, value in row[model].items():
                    chosen = row.get("chosen", "") if model == "personalised" else ""
                    out.writerow([client, row.get(PLACE, ""), model, scope, value, chosen])


def client_curves(
    lines: Sequence[Mapping[str, Any]], headline: str
) -> tuple[dict[str, list[tuple[float, float]]], str] | None:
    """A curve for each client over the rounds, and its label: the global model on the client's validation images, or
    the client's loss in a run without such images; None without either."""
    for key, label, back in ((f"global_{headline}", f"global {headline}", 1), ("loss_total", "loss", 0)):
        curves: dict[str, list[tuple[float, float]]] = {}
        for line in lines:
            for client, row in sorted(line["clients"].items()):
                if row.get(key) is not None:  # measured at the start of a round: the model of the round before
                    curves.setdefault(client, []).append((line["server_round"] - back, row[key]))
        if curves:
            return dict(sorted(curves.items())), label
    return None


def _rows(model: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A model's figures by client: of one model for all, its own ones with the figures of the union."""
    if "clients" in model:
        return {client: row for client, row in model["clients"].items() if "error" not in row}
    return {client: {**model, OWN: own} for client, own in model.get(OWN, {}).items()}


def _columns(rows: Any) -> list[tuple[str, str]]:
    held = {(model, scope) for row in rows for model in SHOWN for scope in row.get(model, {})}
    return [(model, scope) for model in SHOWN for scope in (OWN, UNION) if (model, scope) in held]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
    return [first.strip().ljust(widths[0]), *rest]
