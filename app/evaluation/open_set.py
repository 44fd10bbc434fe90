"""Open-set measures of a re-identification: is the right vehicle named, and is a stranger refused.

Every query with a true match is asked twice: as a resident, and as a stranger, with its own vehicle taken out of the
gallery. The best score of each decides at a threshold whether a vehicle is named. Terms follow the open-set
identification of ISO/IEC 19795-1 and Grother and Ngan (NIST FRVT 1:N): the share of strangers named is the
false-positive identification rate, a resident not named right the false-negative one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.evaluation.ids import NO_SEQUENCE, PairIds
from app.evaluation.local_scaling import NEIGHBOURS, Neighbours, neighbours, query_density
from app.evaluation.ranking import NoValidQueryError

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
STRANGER_RATES = (0.01, 0.05)
_BLOCK = 256


@dataclass(frozen=True)
class Trials:
    """Best scores of Q queries.

    Args:
        resident: (Q,), with the query's own vehicle in the gallery.
        right: (Q,), whether that best score is of its own vehicle; a tie with another vehicle is not.
        stranger: (Q,), with its own vehicle taken out; -inf if nothing is left.
    """

    resident: Floats
    right: NDArray[np.bool_]
    stranger: Floats

    def threshold(self, rate: float) -> float:
        """The least threshold at which at most the share `rate` of strangers is named."""
        ordered = np.sort(self.stranger)[::-1]
        allowed = int(rate * len(ordered) + 1e-9)
        return float(np.nextafter(ordered[allowed], np.inf)) if allowed < len(ordered) else float(ordered[-1])

    def named_right(self, threshold: float) -> float:
        """Share of residents whose own vehicle is named."""
        return float((self.right & (self.resident >= threshold)).mean())

    def strangers_named(self, threshold: float) -> float:
        """Share of strangers with a resident's name."""
        return float((self.stranger >= threshold).mean())

    def f1(self, threshold: float) -> float:
        """F1 of naming: true positives are residents named right; a wrong name is a false positive, of a resident or
        a stranger; every resident that is not named right is a false negative."""
        named = np.count_nonzero(self.resident >= threshold) + np.count_nonzero(self.stranger >= threshold)
        true = np.count_nonzero(self.right & (self.resident >= threshold))
        return float(2 * true / (named + len(self.resident)))

    def refusal_ap(self) -> float:
        """Average precision of telling strangers (positive) from residents by a low score: area under the
        precision-recall curve by steps, equal scores together."""
        scores = np.concatenate([self.resident, self.stranger])
        strange = np.concatenate([np.zeros(len(self.resident), bool), np.ones(len(self.stranger), bool)])
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]  # -inf among them has no differences
        ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1)
        hits = np.cumsum(strange[order])[ends]
        steps = np.diff(np.concatenate([[0], hits])) / len(self.stranger)
        return float((steps * hits / (ends + 1)).sum())

    def figures(self, threshold: float | None = None) -> dict[str, float]:
        """Shares by name: `right_at_1`, `right_at_5` (residents named right where 1 % and 5 % of strangers are named),
        `f1` and `tnr` (share of strangers not named) at `threshold`, and `pr_auc`.

        Args:
            threshold: calibrated on other vehicles; None leaves F1 and TNR out.
        """
        found = {f"right_at_{rate * 100:.0f}": self.named_right(self.threshold(rate)) for rate in STRANGER_RATES}
        if threshold is not None:
            found |= {"f1": self.f1(threshold), "tnr": 1 - self.strangers_named(threshold)}
        return {**found, "pr_auc": self.refusal_ap()}


def joined(trials: Sequence[Trials]) -> Trials:
    """The trials of several directions as one."""
    resident, right, stranger = (
        np.concatenate([getattr(each, name) for each in trials]) for name in ("resident", "right", "stranger")
    )
    return Trials(resident, right, stranger)


class Asked(NamedTuple):
    """The scores of one query against the vehicles of a gallery, V of them.

    Args:
        query: its row.
        own: the query's own vehicle, as a place among the gallery's, in the order of their pids; -1 for a stranger.
        resident: (V,), -inf for a vehicle of which no image may be compared; of a stranger the same as `stranger`.
        stranger: (V,), with its own vehicle taken out, whose score is -inf.
    """

    query: int
    own: int
    resident: Floats
    stranger: Floats


def ask(
    query_rows: Callable[[slice], Floats],
    gallery_rows: Callable[[slice], Floats] | None,
    ids: PairIds,
    count: int = NEIGHBOURS,
    *,
    with_strangers: bool = False,
) -> Iterator[Asked]:
    """Ask every query with a true match as a resident and as a stranger.

    As in a ranking, images of the query's own vehicle in its own camera are left out, and other vehicles in its own
    sequence. The score of a vehicle is that of its best image.

    Args:
        query_rows: similarity of a block of queries to the gallery (B, G).
        gallery_rows: similarity of a block of gallery images to the gallery (B, G), for local scaling; None for plain
            similarities.
        with_strangers: ask queries without a true match, too, as strangers.
    """
    order = np.argsort(ids["g_pids"], kind="stable")
    pids, starts = np.unique(ids["g_pids"][order], return_index=True)
    vehicle_of = np.searchsorted(pids, ids["g_pids"])
    camids, sequences = ids["g_camids"], ids["g_sequences"]
    near = _near(gallery_rows, order, starts, vehicle_of, count) if gallery_rows is not None and len(order) else None
    usual = near.density() if near is not None else None
    for first in range(0, len(ids["q_pids"]), _BLOCK):
        rows = slice(first, min(first + _BLOCK, len(ids["q_pids"])))
        for number, row in enumerate(np.array(query_rows(rows), np.float32), start=first):
            pid, camid, sequence = (ids[name][number] for name in ("q_pids", "q_camids", "q_sequences"))
            own = ids["g_pids"] == pid
            is_known = (own & (camids != camid)).any()
            if not is_known and not with_strangers:
                continue
            row[own & (camids == camid)] = -np.inf
            if sequence != NO_SEQUENCE:
                row[~own & (sequences == sequence)] = -np.inf
            resident = _scores(row, usual, order, starts, count)
            if not is_known:
                yield Asked(number, -1, resident, resident)
                continue
            place = int(np.searchsorted(pids, pid))
            row[own] = -np.inf
            without = near.density(place) if near is not None else None
            yield Asked(number, place, resident, _scores(row, without, order, starts, count))


def run_trials(
    query_rows: Callable[[slice], Floats],
    gallery_rows: Callable[[slice], Floats] | None,
    ids: PairIds,
    count: int = NEIGHBOURS,
) -> Trials:
    """The best scores of all queries, see `ask`. Raises NoValidQueryError if no query has a true match."""
    residents, rights, strangers = [], [], []
    for asked in ask(query_rows, gallery_rows, ids, count):
        others = np.delete(asked.resident, asked.own)
        residents.append(asked.resident.max())
        rights.append(not len(others) or asked.resident[asked.own] > others.max())
        strangers.append(asked.stranger.max())
    if not residents:
        raise NoValidQueryError("no query has a true match in another camera")
    return Trials(np.array(residents, np.float64), np.array(rights), np.array(strangers, np.float64))


def _near(rows: Callable[[slice], Floats], order: Ints, starts: Ints, vehicle_of: Ints, count: int) -> Neighbours:
    parts = []
    for first in range(0, len(order), _BLOCK):
        block = slice(first, min(first + _BLOCK, len(order)))
        best = np.maximum.reduceat(np.asarray(rows(block), np.float32)[:, order], starts, axis=1)
        parts.append(neighbours(best, vehicle_of[block], count))
    return Neighbours(np.concatenate([p.similarity for p in parts]), np.concatenate([p.vehicle for p in parts]))


def _scores(row: Floats, usual: Floats | None, order: Ints, starts: Ints, count: int) -> Floats:
    """Scores of all vehicles (V,) for one query."""
    best: Floats = np.maximum.reduceat(row[order], starts)
    if usual is None:
        return best
    by_image = np.maximum.reduceat((row - usual / 2)[order], starts)
    return by_image - query_density(best.astype(np.float32), count) / 2
