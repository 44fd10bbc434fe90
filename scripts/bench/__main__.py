"""Speed and memory of the parts, each in a process of its own.

Run: make bench, or python -m scripts.bench round=two_cam

The last part runs a short federation and needs minutes; `round=quickstart` takes the synthetic vehicles for it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.core.limits import usable_cpus
from app.core.run_folder import RunFolder
from app.settings.load import absolute, load_settings
from scripts.bench.loopback import TRAINING
from scripts.command import key_values


def main(argv: Sequence[str]) -> None:
    """Print one JSON line a part, and all of them in one object last."""
    experiment = key_values(argv, round="two_cam")["round"]
    if not absolute(load_settings([f"experiment={experiment}"]).data.root).exists():
        experiment = "quickstart"
    figures = [
        _run("scripts.bench.training"),
        _run("scripts.bench.ranking", "veri_wild=true"),
        _run("scripts.bench.aggregation"),
        _run("scripts.bench.encryption"),
        _run("scripts.bench.plates"),
        round_overhead(experiment),
    ]
    print(json.dumps({"bench": "all", "parts": figures}))


def round_overhead(experiment: str) -> dict[str, Any]:
    """Share of a round that is not training, from its start at the server until the last update is added.

    Clients train in parallel, so a round's training time is the sum of all clients' training divided by the number that
    run at once."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"experiment={experiment}", f"run_dir={folder}", "evaluation.compare=[]", "federation.measure_every=0"]
        words += ["evaluation.ranked_lists=0", "train.epochs=4", "federation.rounds=4", "data.val_split=''"]
        settings = load_settings(words)
        _run("scripts.simulate", *words)
        lines = [line for line in RunFolder(Path(folder)).read_metrics() if line["clients"]]
        lines = lines[1 : settings.federation.rounds]  # the first round also starts Ray and imports torch
    seconds = sum(line["seconds"] for line in lines)
    training = sum(sum(row[key] for key in TRAINING) for line in lines for row in line["clients"].values())
    beside = settings.federation.num_clients / _at_once(settings.federation.num_clients)
    share = 1 - training / settings.federation.num_clients * beside / seconds
    figures = {
        "bench": "round",
        "experiment": experiment,
        "rounds": len(lines),
        "seconds_per_round": seconds / len(lines),
    }
    figures |= {"share_not_training": round(share, 3), "aim": "under 0.1"}
    print(json.dumps(figures), flush=True)
    return figures


def _at_once(clients: int) -> int:
    return min(clients, usable_cpus())


def _run(module: str, *words: str) -> dict[str, Any]:
    """The JSON object in the last line of a script's output."""
    done = subprocess.run([sys.executable, "-m", module, *words], stdout=subprocess.PIPE, text=True, check=True)
    last = done.stdout.strip().splitlines()[-1]
    if module != "scripts.simulate":
        print(last, flush=True)
    figures: dict[str, Any] = json.loads(last)
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
