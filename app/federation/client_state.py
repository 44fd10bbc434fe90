"""State of a client's network and cipher between rounds, in its node's store."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.node_store import NodeStore, NodeStoreError
from strategies.shared_arrays import is_private

_log = logging.getLogger("flwr")
Vector = NDArray[np.float32]
_ARRAY, _OPTIMISER, _HALVED = "array/", "optimiser/", "halved/"
_MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")
"""Of a parameter, each as large as it: they are most of what a client writes, and are kept in bfloat16."""


class ClientState:
    """Private arrays with the optimiser's moments, the trained network, and the carry-over of a cipher.

    Args:
        layout: digest of the shared layout, which travels with every file.
        private: patterns of the arrays that are not shared.
    """

    def __init__(self, store: NodeStore, layout: str, private: Sequence[str]) -> None:
        self.store, self.private = store, private
        self._about = {"layout": layout}

    def own(self, server_round: int) -> tuple[dict[str, Vector], dict[str, Vector]] | None:
        """Private arrays and moments of the last round before this one, by name; None if there was none."""
        earlier = [held for held in self.store.rounds("private") if held < server_round]
        if not earlier:
            return None
        arrays, _ = self.store.read("private", earlier[-1])
        parts = (
            {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            for part in (_ARRAY, _OPTIMISER, _HALVED)
        )
        own, moments, halved = parts
        return own, moments | {name: _whole(bits) for name, bits in halved.items()}

    def keep(
        self, server_round: int, arrays: Mapping[str, Vector], local: Vector, moments: Mapping[str, Vector]
    ) -> None:
        """Write the result of a round: the network's private arrays, its shared vector, and the moments."""
        own: dict[str, NDArray[Any]] = {
            f"{_ARRAY}{name}": array for name, array in arrays.items() if is_private(name, self.private)
        }
        for name, array in moments.items():
            if name.rsplit("/", 1)[-1] in _MOMENTS:
                own[f"{_HALVED}{name}"] = _half(array)
            else:
                own[f"{_OPTIMISER}{name}"] = array
        self.store.write("private", server_round, own, self._about)
        self.store.write("local", server_round, {"vector": local}, self._about)

    def take_back(self, server_round: int) -> None:
        """Drop the files of `keep`: the next round starts from the state before. A simulated node that has no earlier
        trained network keeps this one, so that the run's tables do not lose the client."""
        self.store.drop("private", server_round)
        if self.store.shared is None or self.store.rounds("local") != [server_round]:
            self.store.drop("local", server_round)

    def carried(self, server_round: int) -> dict[str, NDArray[Any]]:
        """Carry-over of the cipher from an earlier round; dropped if of another layout."""
        for earlier in reversed([held for held in self.store.rounds("carried") if held < server_round]):
            try:
                arrays, about = self.store.read("carried", earlier)
            except NodeStoreError:
                about = {}
            if about.get("layout") == self._about["layout"]:
                return arrays
            self.store.drop("carried", earlier)
        return {}

    def carry(self, server_round: int, arrays: dict[str, NDArray[Any]]) -> None:
        """Write the carry-over of the cipher, if there is one. The round's result counts from here on.

        A simulated node keeps no trained network but this one: a damaged file costs a run there, not a site."""
        if arrays:
            self.store.write("carried", server_round, arrays, self._about)
        if self.store.shared is not None:
            self.store.drop_before("local", 1)


def _half(moments: Vector) -> NDArray[np.uint16]:
    """The bits of bfloat16. Once a round a moment is rounded to 8 bits, far below what a batch changes; a version that
    does not know them starts without moments."""
    return torch.from_numpy(np.array(moments)).to(torch.bfloat16).view(torch.uint16).numpy()


def _whole(bits: NDArray[np.uint16]) -> Vector:
    return torch.from_numpy(np.array(bits)).view(torch.bfloat16).float().numpy()


def drop_old_means(store: NodeStore, client: str) -> None:
    """Drop the means of an older version, which kept them apart from the global models, with a line in the log."""
    if held := store.rounds("average"):
        _log.warning(
            "%s: the mean of the global models after round %d is of an older version and is dropped: a mean "
            "of the last rounds begins anew",
            *(client, held[-1]),
        )
        store.drop_after("average", -1)


def drop_moments(store: NodeStore) -> None:
    """Drop what only another round would need, of a simulated node whose run has been measured and has no other."""
    store.drop_before("local", 1)
    store.drop_after("alone", -1)
    held = store.rounds("private")
    if not held:
        return
    store.drop_before("private", 1)
    store.drop_before("carried", 1)
    arrays, about = store.read("private", held[-1])
    kept = {name: array for name, array in arrays.items() if name.startswith(_ARRAY)}
    if len(kept) < len(arrays):
        store.write("private", held[-1], kept, about)
