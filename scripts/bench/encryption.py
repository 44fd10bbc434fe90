"""Cost of encrypting a ResNet50, relative to NVIDIA FLARE's parameters and to its training.

Run: python -m scripts.bench.encryption [clients=4]
One JSON object: processor seconds and bytes of `kahe` and FLARE's CKKS in one run, their ratios, and the
share of encryption and decryption in a round in which a client trains ResNet50 at 256 px on 1,000 images, all on one
thread. Training is measured by the wall clock: the machine has to be idle.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch

from app.settings.load import load_settings
from scripts.bench.privacy import Case, measure
from scripts.bench.training import SMALL
from scripts.bench.training import measure as measure_training
from scripts.command import command, key_values, whole_number

RESNET50_BACKBONE = 23_508_032
_PICTURES = 1_000


def main(argv: Sequence[str]) -> None:
    """Print the figures."""
    clients = whole_number("clients", key_values(argv, clients="4")["clients"], 1, 1_000_000)
    schemes = ("kahe", "ckks_flare")
    ours, flare = (measure(Case(scheme, RESNET50_BACKBONE, clients)) for scheme in schemes)
    torch.set_num_threads(1)
    settings = load_settings([*SMALL, "model=patent_dual", "model.plate=null", "device=cpu"])
    speed = measure_training(settings, steps=3, repeats=2)
    cipher = ours["encrypt_s"] + ours["decrypt_s"]
    training = _PICTURES / float(speed["trainer_pictures_per_s"])
    figures: dict[str, Any] = {
        "bench": "encryption",
        "schemes": [ours, flare],
        "seconds_flare_over_ours": round(_seconds(flare) / _seconds(ours), 1),
        "bytes_up_flare_over_ours": round(flare["bytes_up_per_param"] / ours["bytes_up_per_param"], 1),
        "resnet50_pictures_per_s": speed["trainer_pictures_per_s"],
        "share_of_round": round(cipher / (cipher + training), 4),
        "aim": "encrypt_s 1.8, add_s 0.1, decrypt_s 1.6, sum_peak_mb 120; 20 times the seconds, "
        "25 times the bytes, a share under 0.1",
    }
    print(json.dumps(figures))


def _seconds(figures: dict[str, Any]) -> float:
    """One client's encryption, answer for its shares, and decryption, and the server's adding of its reply."""
    return float(figures["encrypt_s"] + figures["add_s"] + figures["share_s"] + figures["decrypt_s"])


if __name__ == "__main__":
    command(main, sys.argv[1:])
