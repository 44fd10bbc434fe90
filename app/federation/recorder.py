"""Recorder of a run on the server: metrics, checkpoints, progress and TensorBoard in the run folder."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from app.core.run_folder import SERVER_CHECKPOINT, RunFolder
from app.core.run_records import PROGRESS
from strategies.rounds import Missing, RoundReport, ServerState
from strategies.shared_arrays import SharedLayout

_log = logging.getLogger("flwr")
_LOG_SECONDS = 30.0  # between two lines about the same missing sites, and two signs of life


class Recorder:
    """A `RoundListener`.

    Args:
        rounds: of the whole run, for the log.
        headline: the measure for the log.
    """

    def __init__(self, folder: RunFolder, run_key: str, layout: SharedLayout, rounds: int, headline: str) -> None:
        self.folder = folder
        self.run_key = run_key
        self.layout = layout
        self.rounds = rounds
        self.headline = headline
        self.attempts: int = folder.read_progress().get("attempts", 0)
        """All attempts at rounds that were begun in this run, those rolled back or cut off included."""
        self._progress: dict[str, object] = {}
        self._waiting: list[str] = []
        self._logged: tuple[object, ...] = ()
        self._logged_at = 0.0
        self._touched = 0.0

    def waiting(self, missing: Missing) -> None:
        """Write the connected sites and the seconds left to wait into `progress.json`, and now and then into the log.

        Sites that took part earlier in this run are named; the names of others are not known yet."""
        known = {client for line in self.folder.read_rounds() for client in line["clients"]}
        absent = sorted(known - set(missing.here))
        state = (missing.wanted, *missing.here, *missing.refused)
        now = time.monotonic()
        if state == self._logged and now < self._logged_at + _LOG_SECONDS:
            return
        self._logged, self._logged_at = state, now
        until = time.time() + missing.seconds
        who = {"here": list(missing.here), "absent": absent, "refused": list(missing.refused)}
        waited = {"wanted": missing.wanted, **who, "until": until}
        self.folder.write_progress(
            {**self._progress, "attempts": self.attempts, "waiting": [], "waiting_for": waited}  # what is kept stays
        )
        _log.info("%s", waiting_sentence(waited, missing.seconds))

    def started(self, server_round: int, attempt: int, cohort: Sequence[str]) -> None:
        """Write the clients without a reply into `progress.json`."""
        self.attempts += 1
        now = {"server_round": server_round, "attempt": attempt, "cohort": list(cohort)}
        self._progress = {**now, "attempts": self.attempts}
        self._waiting = list(cohort)
        self._write_progress()

    def delivering(self, server_round: int, cohort: Sequence[str], seconds: float) -> None:
        """Write the clients without an answer to the final model into `progress.json`, and how long it may take."""
        now = {"server_round": server_round, "attempt": 1, "cohort": list(cohort), "final": True}
        self._progress = {**now, "attempts": self.attempts}
        self._waiting = list(cohort)
        self._write_progress()
        _log.info("waiting for answers to the final model from %s; %.0f s at most", ", ".join(cohort), seconds)

    def alive(self) -> None:
        """Touch `progress.json` now and then: a wait of hours is no silence."""
        now = time.monotonic()
        if now >= self._touched + _LOG_SECONDS:
            self._touched = now
            with contextlib.suppress(OSError):  # there is none before the first round; no sign is worth the run
                os.utime(self.folder.path / PROGRESS)

    def dropped(self, client: str, reason: str) -> None:  # noqa: ARG002
        """Remove a client from those without a reply; the line of the round has the reason."""
        self.replied(client)

    def replied(self, client: str) -> None:
        """Remove a client from those without a reply."""
        if client in self._waiting:
            self._waiting.remove(client)
            self._write_progress()

    def sharing(self, clients: Sequence[str]) -> None:
        """Write the clients without a share sum into `progress.json`; the log names them when they are asked."""
        if "share_sums" not in self._progress:
            _log.info("round %s %s", self._progress.get("server_round"), sharing_sentence(clients))
        self._progress["share_sums"] = list(clients)
        self._write_progress()

    def finished(self, report: RoundReport, state: ServerState) -> None:
        """Metrics, checkpoint, curves and one line of log."""
        self.folder.append_metrics(asdict(report))  # first: a resumed run drops a line that has no checkpoint
        self._write_checkpoint(state)
        self.log_scalars(report)
        _log.info("%s", _sentence(report, self.rounds, self.headline))

    def undone(self, state: ServerState) -> None:
        """Forget the last round."""
        self.folder.drop_metrics_from(state.server_round + 1)
        self._write_checkpoint(state)

    def delivered(self, report: RoundReport) -> None:
        """Metrics of the final model."""
        self.folder.append_metrics(asdict(report))
        self.log_scalars(report)
        _log.info("final model: %s", report.measures)

    def log_scalars(self, report: RoundReport) -> None:
        """TensorBoard points; measures of the global model stand at its version, which is the round before."""
        tested = {k: v for k, v in report.measures.items() if k.startswith("global_")}
        others = {k: v for k, v in report.measures.items() if k not in tested}
        self.folder.log_scalars({k.replace("_", "/", 1): v for k, v in tested.items()}, report.server_round - 1)
        values = {f"round/{name}": value for name, value in others.items()}
        values |= {"round/seconds": report.seconds, "round/bytes_up": float(report.bytes_up)}
        self.folder.log_scalars(values, report.server_round)

    def _write_progress(self) -> None:
        self.folder.write_progress({**self._progress, "waiting": self._waiting})

    def _write_checkpoint(self, state: ServerState) -> None:
        kept = {
            "server_round": state.server_round,
            "coefficient_sum": state.coefficient_sum,
            "key_id": state.key_id,
            "best": state.convergence.best,
            "without_gain": state.convergence.without_gain,
            "measured": state.convergence.version,
            "mean_from": state.mean_from,
        }
        metadata = {
            "run_key": self.run_key,
            "layout": self.layout.digest,
            "state": json.dumps(kept),
            "generation": str(state.generation),
        }
        self.folder.save_arrays(SERVER_CHECKPOINT, {"aggregate": np.frombuffer(state.aggregate, np.uint8)}, metadata)


def waiting_sentence(waiting_for: Mapping[str, Any], seconds: float) -> str:
    """Sites for which a run waits, and the seconds left."""
    here = waiting_for["here"]
    parts = [f"waiting for {waiting_for['wanted'] - len(here)} of {waiting_for['wanted']} sites"]
    parts += [f"here: {', '.join(here) or 'none'}"]
    if waiting_for["absent"]:
        parts.append(f"not here: {', '.join(waiting_for['absent'])}")
    parts += [f"refused: {'; '.join(waiting_for['refused'])}"] if waiting_for["refused"] else []
    return f"{'; '.join(parts)}; {max(0.0, seconds):.0f} s more"


def sharing_sentence(clients: Sequence[str]) -> str:
    """Sites for whose share sums a round waits."""
    return f"waits for share sums of {', '.join(clients)}"


def _sentence(report: RoundReport, rounds: int, headline: str) -> str:
    parts = [f"round {report.server_round}/{rounds}", f"{report.seconds:.1f} s", f"{len(report.clients)} clients"]
    if "loss_total" in report.measures:
        parts.append(f"loss {report.measures['loss_total']:.3f}")
    if f"global_{headline}" in report.measures:
        value = 100 * report.measures[f"global_{headline}"]
        parts.append(f"global {headline} {value:.1f} % after round {report.server_round - 1}")
    parts.append(f"{report.bytes_up / 1e6:.1f} MB up, {report.bytes_down / 1e6:.1f} MB down")
    parts += [f"left out {row['client']}: {row['reason']}" for row in report.left_out]
    return ", ".join(parts)
