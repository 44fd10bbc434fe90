"""Count the training pictures that each client has.

Run: python -m scripts.inspect_data data=two_cam federation.num_clients=4
"""

import json
import sys
from collections.abc import Sequence

from app.data.partition import table
from app.data.source import open_source
from scripts.command import command, parse_settings


def main(argv: Sequence[str]) -> None:
    """Print the table of training pictures and vehicles a client, then one JSON object."""
    settings = parse_settings(argv)
    parts = open_source(settings.data, settings.seed).parts(settings.federation.num_clients)
    print(table(parts))
    print(json.dumps({"clients": [{"images": len(p), "pids": len({s.pid for s in p})} for p in parts]}))


if __name__ == "__main__":
    command(main, sys.argv[1:])
