"""Ranked lists of some queries of a direction, as an image."""

from pathlib import Path

from app.data.readers.reader import Direction
from app.evaluation.embed import DualEmbeddings
from app.evaluation.figures import nearest_in_gallery, pick_queries, ranked_list_picture
from app.evaluation.ids import pair_ids
from app.evaluation.measure import fused_rows


def draw_ranked_lists(found: DualEmbeddings, direction: Direction, path: Path, count: int, seed: int) -> None:
    """Write an image of the ten nearest, by the distance of the headline measure, for `count` queries. Nothing is
    written if no query has a match."""
    queries = [sample for sample in direction.query if sample in found]
    gallery = [sample for sample in direction.gallery if sample in found]
    ids = pair_ids(queries, gallery)
    shown = pick_queries(
        q_pids=ids["q_pids"],
        q_camids=ids["q_camids"],
        g_pids=ids["g_pids"],
        g_camids=ids["g_camids"],
        count=count,
        seed=seed,
    )
    if not shown:
        return
    rows = fused_rows(found, queries, gallery)
    ranked = [
        nearest_in_gallery(
            rows(slice(row, row + 1))[0],
            pid=int(ids["q_pids"][row]),
            camid=int(ids["q_camids"][row]),
            sequence=int(ids["q_sequences"][row]),
            g_pids=ids["g_pids"],
            g_camids=ids["g_camids"],
            g_sequences=ids["g_sequences"],
        )
        for row in shown
    ]
    ranked_list_picture(
        [queries[row] for row in shown],
        [[gallery[index] for index in indices] for indices, _ in ranked],
        [matches.tolist() for _, matches in ranked],
        path,
        caption=f"{direction.name}: the ten nearest by {'cosine' if found.plate is None else 'fused'} distance",
    )
