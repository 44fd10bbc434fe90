"""Error of encrypted sums on the real updates of a run, against FedAvg in float64.

Run: python -m scripts.bench.sums experiment=two_cam seed=0
The federation runs in Flower's simulation and in the clear. After each round the clients' stored updates are copied
(four bytes a value, deleted at the end); after the run they go through cipher `kahe` with its carry-over, as if
they had been sent. Prints a JSON object: relative errors (Euclidean norm) of the mean of single rounds, and of the sum
over rounds 1 to r.
"""

import json
import math
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.node_store import NodeStore
from app.core.run_folder import RunFolder
from app.data.dataset import open_source
from app.experiment.simulation import simulate
from app.federation.build import max_clients
from app.federation.layout import shared_part
from app.settings.load import Settings, absolute, load_settings
from app.settings.overrides import override
from scripts.bench.errors import BenchError
from scripts.command import command
from strategies.ciphers.binding import Binding
from strategies.ciphers.kahe.client_half import KaheCipher, new_secret
from strategies.ciphers.kahe.parameters import SCHEME
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.ciphers.keys import new_key

Vector = NDArray[np.float32]


def main(argv: Sequence[str]) -> None:
    """Print the figures."""
    settings = load_settings(argv)
    folder = RunFolder.create(absolute("outputs"), f"{settings.name}-sums")
    sums = Sums(settings, folder)
    overrides = shlex.join([*argv, "privacy=plain", override("run_dir", folder.path)])
    simulate(folder.path, overrides, settings, on_metrics=sums.set_aside)
    sums.follow()
    print(json.dumps({"bench": "sums", "name": settings.name, "seed": settings.seed, **sums.figures()}))


class Sums:
    """Repeats a run in the clear with the cipher."""

    def __init__(self, settings: Settings, folder: RunFolder) -> None:
        self.settings = settings
        self.folder = folder
        self.aside = folder.path / "updates"
        self.run_key = ""
        parts = open_source(settings.data, settings.seed).parts(settings.federation.num_clients)
        self.pictures = {f"client-{index}": len(part) for index, part in enumerate(parts)}
        self.layout, self.statistics = shared_part(settings)
        self.key = new_key({SCHEME: new_secret})
        self.ciphers: dict[str, KaheCipher] = {}
        self.carried: dict[str, dict[str, Any]] = {}
        self.state: dict[str, Any] = {}
        self.exact, self.found = np.zeros(self.layout.size), np.zeros(self.layout.size)
        self.rounds: list[float] = []
        self.sums: list[float] = []
        self.bytes_up = 0

    def set_aside(self, line: dict[str, Any]) -> None:
        """Copy the updates of a round that has just ended; a simulated node keeps them until it has trained anew.

        Raises BenchError if it has: rounds are looked for every half a second."""
        server_round = int(line["server_round"])
        if server_round > self.settings.federation.rounds:
            return
        nodes = self.folder.path / "nodes"
        self.run_key = next(path.name for path in (nodes / min(line["clients"])).iterdir() if path.is_dir())
        stores = {name: NodeStore(nodes / name / self.run_key) for name in sorted(line["clients"])}
        if gone := [name for name, store in stores.items() if server_round not in store.rounds("local")]:
            raise BenchError(
                f"{gone[0]} trained anew before its update of round {server_round} was copied: choose an experiment "
                "whose rounds take seconds"
            )
        before = next(iter(stores.values())).read("global", server_round - 1)[0]["vector"]
        updates = {name: store.read("local", server_round)[0]["vector"] - before for name, store in stores.items()}
        self.aside.mkdir(exist_ok=True)
        np.savez(self.aside / f"{server_round:06d}.npz", before=before, **updates)

    def follow(self) -> None:
        """Send the copied updates of all rounds, in order."""
        for path in sorted(self.aside.iterdir()):
            with np.load(path) as arrays:
                updates = {name: arrays[name] for name in arrays.files}
            self._send(int(path.stem), updates.pop("before"), updates)
        shutil.rmtree(self.aside)

    def _send(self, server_round: int, before: Vector, updates: dict[str, Vector]) -> None:
        names = tuple(updates)
        binding = Binding(self.run_key, self.layout.digest, server_round, 1, names)
        seeds = dict.fromkeys(names, bytes(32))  # one process has all secrets anyway
        total, exact, coefficients = None, np.zeros(self.layout.size), []
        for name, update in updates.items():
            cipher = self._cipher(name, before)
            coefficient = self.pictures[name] / sum(self.pictures[other] for other in names)
            exact += update.astype(np.float64) * coefficient
            coefficients.append(coefficient)
            carried = self.carried.get(name, {})
            sent = cipher.encrypt(update, coefficient, binding, state=self.state, carried=carried, seeds=seeds)
            self.carried[name] = sent.carried
            self.bytes_up = len(sent.payload)
            total = total or KaheSum(cipher.parameters, binding, self.key.key_id)
            total.add(sent.payload, name)
        assert total is not None
        for name in names:
            total.disclose(name, self.ciphers[name].share_sum(names, total.question(name), binding, seeds))
        opened = self.ciphers[names[0]].decrypt(total.payload(), math.fsum(coefficients), binding, state=self.state)
        self.state = opened.state
        exact /= math.fsum(coefficients)
        self.exact += exact
        self.found += opened.mean
        self.rounds.append(_error(opened.mean, exact))
        self.sums.append(_error(self.found, self.exact))

    def _cipher(self, name: str, vector: Vector) -> KaheCipher:
        if name not in self.ciphers:
            bound, bits = max_clients(self.settings), self.settings.privacy.bits
            made = KaheCipher(self.key, self.statistics, client=name, max_clients=bound, bits=bits)
            self.ciphers[name] = made
            self.state = self.state or made.initial_state(vector)
        return self.ciphers[name]

    def figures(self) -> dict[str, Any]:
        """Of all rounds so far."""
        later = self.rounds[1:] or self.rounds
        return {
            "values": self.layout.size,
            "bytes_up_per_value": round(self.bytes_up / self.layout.size, 3),
            "error_of_round_1": _short(self.rounds[0]),
            "median_error_of_later_rounds": _short(float(np.median(later))),
            "largest_error_of_later_rounds": _short(max(later)),
            "error_of_the_sum_of_15_rounds": _short(self.sums[min(15, len(self.sums)) - 1]),
            "error_of_the_sum_of_all_rounds": _short(self.sums[-1]),
            "aim": "1e-2 for later rounds, 1e-4 for the sum of 15",
        }


def _error(found: NDArray[np.floating], exact: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _short(value: float) -> float:
    return float(f"{value:.2g}")


if __name__ == "__main__":
    command(main, sys.argv[1:])
