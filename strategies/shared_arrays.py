"""Shared arrays of a network, joined into one vector.

Client, server, ciphers and checkpoints all use `SharedLayout`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

import numpy as np
from numpy.typing import NDArray

from models.errors import FedVehicleReidError

Arrays = Mapping[str, NDArray[np.float32]]


class LayoutError(FedVehicleReidError, ValueError):
    """Arrays that do not fit the layout; the message names the array."""


def is_private(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern (shell style, case-sensitive) matches the array's name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True)
class SharedLayout:
    """Names, shapes and order of the shared arrays: sorted by name, joined without gaps.

    Two parties with the same `digest` mean the same number by the same position of the vector.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]], private: Iterable[str]) -> "SharedLayout":
        """The layout of the arrays that no pattern in `private` matches. Raises LayoutError if none is left."""
        patterns = tuple(private)
        names = sorted(name for name in shapes if not is_private(name, patterns))
        if not names:
            raise LayoutError(f"every array is private under {list(patterns)}: nothing to synchronise")
        return cls(tuple(names), tuple(tuple(int(side) for side in shapes[name]) for name in names))

    @property
    def size(self) -> int:
        """Number of values in the vector."""
        return sum(prod(shape) for shape in self.shapes)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits over names, shapes and order."""
        text = json.dumps([self.names, self.shapes], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def marked(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """A mask (size,) of the values of these arrays."""
        chosen = set(names)
        sizes = [prod(shape) for shape in self.shapes]
        return np.repeat([name in chosen for name in self.names], sizes)

    def flatten(self, arrays: Arrays) -> NDArray[np.float32]:
        """The shared arrays as one vector (size,). Raises LayoutError for a missing array or another shape."""
        vector = np.empty(self.size, np.float32)
        start = 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name not in arrays:
                raise LayoutError(f"shared array {name!r} is missing")
            if arrays[name].shape != shape:
                raise LayoutError(f"shared array {name!r} has shape {arrays[name].shape}, the layout says {shape}")
            stop = start + prod(shape)
            vector[start:stop] = arrays[name].ravel()
            start = stop
        return vector

    def unflatten(self, vector: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The arrays by name, as copies. Raises LayoutError for a vector of another size."""
        if vector.shape != (self.size,):
            raise LayoutError(f"vector of shape {vector.shape}, the layout holds {self.size} values")
        arrays, start = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            stop = start + prod(shape)
            arrays[name] = vector[start:stop].reshape(shape).copy()
            start = stop
        return arrays
