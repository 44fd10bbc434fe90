"""Counts of each client's training images, and of the measurable queries of an evaluation.

Run: python -m scripts.inspect_data experiment=two_cam federation.num_clients=4
"""

import json
import sys
from collections.abc import Sequence

from app.data.dataset import open_source
from app.data.partition import table
from app.experiment.measurable import evaluation_counts, evaluation_table
from app.tasks import make_task
from scripts.command import command, parse_settings


def main(argv: Sequence[str]) -> None:
    """Print the tables of training images by client and of the measured splits, then one JSON object."""
    settings = parse_settings(argv)
    source = open_source(settings.data, settings.seed)
    parts = source.parts(settings.federation.num_clients)
    print(table(parts))
    splits = (settings.data.val_split, settings.data.eval_split)
    evaluation = evaluation_counts(make_task(settings), source, splits)
    print(evaluation_table(evaluation))
    clients = [{"images": len(p), "pids": len({s.pid for s in p})} for p in parts]
    print(json.dumps({"clients": clients, "evaluation": evaluation}))


if __name__ == "__main__":
    command(main, sys.argv[1:])
