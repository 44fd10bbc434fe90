"""State that a client's network and cipher hand on from round to round, in its node's store."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.node_store import NodeStore, NodeStoreError
from strategies.shared_arrays import is_private

Vector = NDArray[np.float32]
_ARRAY, _OPTIMISER = "array/", "optimiser/"


class ClientState:
    """Private arrays with the optimiser's moments, the network as it was trained, and what a cipher carried over.

    Args:
        layout: digest of the shared layout, which travels with every file.
        private: patterns of the arrays that are not shared.
    """

    def __init__(self, store: NodeStore, layout: str, private: Sequence[str]) -> None:
        self.store, self.private = store, private
        self._about = {"layout": layout}

    def own(self, server_round: int) -> tuple[dict[str, Vector], dict[str, Vector]] | None:
        """Private arrays and moments, by name, as the last round before this one left them; None if there was none."""
        earlier = [held for held in self.store.rounds("private") if held < server_round]
        if not earlier:
            return None
        arrays, _ = self.store.read("private", earlier[-1])
        parts = (
            {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            for part in (_ARRAY, _OPTIMISER)
        )
        own, moments = parts
        return own, moments

    def keep(
        self, server_round: int, arrays: Mapping[str, Vector], local: Vector, moments: Mapping[str, Vector]
    ) -> None:
        """Write what a round learnt: the private ones of the network's arrays, its shared vector, and the moments."""
        own = {f"{_ARRAY}{name}": array for name, array in arrays.items() if is_private(name, self.private)}
        own |= {f"{_OPTIMISER}{name}": array for name, array in moments.items()}
        self.store.write("private", server_round, own, self._about)
        self.store.write("local", server_round, {"vector": local}, self._about)

    def take_back(self, server_round: int) -> None:
        """Drop what `keep` wrote: the next round starts from what was learnt before."""
        self.store.drop("private", server_round)
        self.store.drop("local", server_round)

    def carried(self, server_round: int) -> dict[str, NDArray[Any]]:
        """What the cipher carried over from an earlier round; of another layout it is dropped."""
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
        """Write what the cipher carries over, if it does."""
        if arrays:
            self.store.write("carried", server_round, arrays, self._about)
