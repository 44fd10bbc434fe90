"""Global models of a node: read, written, and brought to the version that a round starts from."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from app.core.global_state import MEAN, GlobalModel, Mean, Vector
from app.core.node_store import NodeStore, NodeStoreError, digest_of
from app.federation.opened_sums import OpenedSums, RefusedSumError, sum_digest
from models.errors import FedVehicleReidError
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import Buffer, CipherError, ClientCipher
from strategies.ciphers.kahe.tags import AlteredSumError
from strategies.server_optimiser import ServerOptimiser
from strategies.shared_arrays import SharedLayout

_log = logging.getLogger("flwr")
_KIND = "global"
UNUSABLE = "the sum cannot be used; the site's own log says why"
"""The only message that leaves the node about an encrypted sum: the cause would reveal bits of the secret key."""
SUM_ALTERED = "the sum was altered: its tag does not fit"
_LARGEST = 2.0**20  # a larger aggregate is of another key, or of a diverged client
_ROUNDING = 1e-5
"""Largest difference of a starting value between processors, which round differently: 8e-7 was measured."""


class GlobalModelError(FedVehicleReidError, RuntimeError):
    """A version that cannot be reached, or must not be used; the model on the node stays as it was."""


class UnusableAggregateError(GlobalModelError):
    """An aggregate that does not open, or yields no valid model."""


class PassedOn(NamedTuple):
    """A model sealed by another node: its version, and the digest that most nodes hold."""

    sealed: Buffer
    version: int
    digest: str


class GlobalModels:
    """Versions of the global model in a node store; version r is the model after r rounds.

    Args:
        client: name of the client in errors.
        initial: returns the shared values that every client starts from.
        statistics: (size,) bool, BatchNorm statistics, which are averaged whatever the server optimiser is.
        variances: (size,) bool, the running variances among them, which are kept at 0 or above.
        run_key: the run that aggregates must be of.
        sums: opened sums; None without encryption.
        least: required clients of a sum, if the cipher names them; a site's policy may require more than two.
        averaged_from: first version in the mean of the last models; None for no mean.
    """

    def __init__(
        self,
        client: str,
        store: NodeStore,
        *,
        layout: SharedLayout,
        statistics: NDArray[np.bool_],
        variances: NDArray[np.bool_],
        initial: Callable[[], Vector],
        server_optimiser: ServerOptimiser,
        cipher: ClientCipher,
        run_key: str,
        sums: OpenedSums | None,
        least: int = 2,
        averaged_from: int | None = None,
    ) -> None:
        self.client = client
        self.least = max(least, 2)  # holders of the key open nothing but sums
        self.store = store
        self.layout = layout
        self.statistics = statistics
        self.variances = variances
        self.server_optimiser = server_optimiser
        self.cipher = cipher
        self.run_key = run_key
        self.sums = sums
        self.averaged_from = averaged_from
        self._make_initial = initial

    def _initial(self) -> GlobalModel:
        vector = self._make_initial()
        return GlobalModel(vector, self.server_optimiser.initial_state(vector.size), self.cipher.initial_state(vector))

    def held(self) -> dict[int, str]:
        """Versions in the store with their digests; version 0 is written if there is none."""
        versions: dict[int, str] = {}
        for version in self.store.rounds(_KIND):
            try:
                versions[version] = self.store.metadata(_KIND, version)["digest"]
            except (NodeStoreError, KeyError):  # damaged: another node sends the model
                self.store.drop_damaged(_KIND, version)
        if not versions:
            versions[0] = self._write(0, self._initial())
        return versions

    def read(self, version: int) -> GlobalModel:
        """One version. Raises NodeStoreError if it is damaged, and drops it: the next round gets it from elsewhere."""
        arrays, metadata = self.store.read(_KIND, version)
        if metadata.get("layout") != self.layout.digest or digest_of(arrays) != metadata.get("digest"):
            self.store.drop_damaged(_KIND, version)
            raise NodeStoreError(f"{self.store.folder}: global model {version} is of another network or damaged")
        return GlobalModel.of(arrays)

    def reach(
        self,
        version: int,
        aggregate: Buffer = b"",
        coefficient_sum: float = 0.0,
        passed_on: PassedOn | None = None,
        mean_from: int | None = None,
    ) -> GlobalModel:
        """The model of `version`: from the store, by the aggregate of the last round, or from another node, which sends
        this version or the one before.

        Args:
            mean_from: as `averaged_from` when the aggregate was made; 0 for no mean, None for `averaged_from`.

        Raises GlobalModelError if the version cannot be reached or the received model is not the one that most nodes
        hold, UnusableAggregateError if the aggregate cannot be used, or CipherError if the received model does not
        open."""
        if passed_on is not None and not self._has(passed_on, version):
            self._adopt(passed_on)
        held = self.held()
        if version in held:
            return self.read(version)
        if aggregate and version - 1 in held:
            first = self.averaged_from if mean_from is None else mean_from or None
            return self._open(version, self.read(version - 1), held[version - 1], aggregate, coefficient_sum, first)
        raise GlobalModelError(f"{self.client} holds global models {sorted(held)} and cannot reach {version}")

    def sealed(self, version: int, digest: str) -> bytes:
        """A held version with this digest, for a node that lacks it. Raises GlobalModelError if it is not held."""
        held = self.held()
        if held.get(version) != digest:
            raise GlobalModelError(
                f"{self.client} cannot send global model {version} with digest {digest!r}: it holds {held}"
            )
        return self.cipher.seal(save(self.read(version).arrays()), self._purpose(version))

    def _purpose(self, version: int) -> str:
        return f"global model {version} of run {self.run_key}, layout {self.layout.digest}"

    def _open(
        self, version: int, before: GlobalModel, held: str, payload: Buffer, coefficient_sum: float, first: int | None
    ) -> GlobalModel:
        """`_apply`, at most once for a version, and with one answer for every fault of an encrypted sum."""
        if (sums := self.sums) is None:  # the server can read the sum anyway, and may know its fault
            return self._keep(version, *self._apply(version, before, payload, coefficient_sum, first))
        digest = sum_digest(payload, coefficient_sum, held)
        try:
            sums.admit(version, digest)
        except RefusedSumError as error:
            _log.error("%s: the sum of round %d is not opened: %s", self.client, version, error)
            raise UnusableAggregateError(UNUSABLE) from None
        try:
            after, clients = self._apply(version, before, payload, coefficient_sum, first)
        except (OSError, MemoryError):  # a fault of the machine and not of the sum, which may be opened again
            raise
        except Exception as error:  # of any kind: a second kind of error would be a second answer
            sums.unusable(version, digest)
            _log.error("%s: %s", self.client, error, exc_info=not isinstance(error, UnusableAggregateError))
            altered = isinstance(error.__cause__, AlteredSumError)  # found by its tag: the answer depends on no secret
            raise UnusableAggregateError(SUM_ALTERED if altered else UNUSABLE) from None
        sums.used(version, digest)
        return self._keep(version, after, clients)  # an obstacle here reveals nothing about the sum

    def _apply(
        self, version: int, before: GlobalModel, payload: Buffer, coefficient_sum: float, first: int | None
    ) -> tuple[GlobalModel, Sequence[str]]:
        """The model after a sum, and the clients in the sum. `first` is that of `GlobalModel.mean_after`."""
        binding = Binding(self.run_key, self.layout.digest, version)
        try:
            mean, state, clients = self.cipher.decrypt(payload, coefficient_sum, binding, state=before.state)
        except CipherError as error:
            raise UnusableAggregateError(f"the sum of round {version}: {error}") from error
        if 0 < len(clients) < self.least:
            raise UnusableAggregateError(
                f"the sum of round {version} is of {', '.join(clients)} alone, not of {self.least}"
            )
        vector, moments = self.server_optimiser.step(before.vector, mean, before.moments)
        # Momentum would carry a variance below 0, and the network to NaN: statistics are averaged and no more.
        vector[self.statistics] = (before.vector + mean)[self.statistics]
        if not np.abs(vector).max(initial=0.0) < _LARGEST:  # also where a value is not a number
            raise UnusableAggregateError(
                f"the aggregate of round {version} is not finite or absurdly large; the model stays as it was"
            )
        self._raise_variances(before.vector, vector, version)
        last = before.mean_after(vector, version, first)
        return GlobalModel(vector, moments, state, last), clients

    def _keep(self, version: int, after: GlobalModel, clients: Sequence[str]) -> GlobalModel:
        self._write(version, after)
        if clients and self.client not in clients:  # the carry-over in that payload has not arrived
            self.store.drop("carried", version)
        return after

    def _raise_variances(self, before: Vector, vector: Vector, version: int) -> None:
        """Set running variances below 0 to 0; the layer's own epsilon keeps its root away from 0.

        Error of a cipher and what the quantisation carried over take a small variance a little below 0. Raises
        UnusableAggregateError for one further below 0 than any variance before was above: such a sum is broken."""
        found = vector[self.variances]
        lowest, largest = float(found.min(initial=0.0)), float(before[self.variances].max(initial=1.0))
        if lowest < -largest:
            raise UnusableAggregateError(
                f"the aggregate of round {version} takes a running variance far below 0; the model stays as it was"
            )
        vector[self.variances] = np.maximum(found, np.float32(0.0))

    def _has(self, passed_on: PassedOn, version: int) -> bool:
        """Whether this model is held already. Raises GlobalModelError rather than replace a whole one: no other node
        replaces a model that this node reached by sums. Version 0 was not reached by sums, see `_adopt`."""
        for held in (passed_on.version, version):
            digest = self._intact(held)
            if digest and (held, digest) == (passed_on.version, passed_on.digest):
                return True
            if digest and held:
                raise GlobalModelError(
                    f"{self.client} keeps its own global model {held} with the digest {digest}, and most nodes hold "
                    f"{passed_on.digest!r} of {passed_on.version}; delete it from the node's folder to take theirs"
                )
        return False

    def _intact(self, version: int) -> str:
        """The digest of a version that is held whole, or ""."""
        try:
            return digest_of(self.read(version).arrays()) if version in self.held() else ""
        except NodeStoreError:  # damaged, and dropped by now
            return ""

    def _adopt(self, passed_on: PassedOn) -> None:
        version = passed_on.version
        try:
            arrays = load(self.cipher.open(passed_on.sealed, self._purpose(version)))
        except SafetensorError as error:
            raise GlobalModelError(f"{self.client}: the received global model is damaged: {error}") from error
        start = self._initial()
        initial = (replace(start, mean=Mean(start.vector, 0)) if MEAN in arrays else start).arrays()
        expected = {name: (array.shape, array.dtype) for name, array in initial.items()}
        fits = {name: (array.shape, array.dtype) for name, array in arrays.items()} == expected
        if not fits or ((mean := GlobalModel.of(arrays).mean) and not 0 < mean.since <= version):
            raise GlobalModelError(f"{self.client}: the received global model has another layout")
        if version == 0 and not all(_is_rounded(array, initial[name]) for name, array in arrays.items()):
            raise GlobalModelError(
                f"{self.client}: the received starting model is not this node's own, which the settings of "
                "the run give: the weights files of the sites, or their versions of the project, differ"
            )
        if not all(np.abs(array).max(initial=0) < _LARGEST for array in arrays.values()):
            raise GlobalModelError(f"{self.client}: the received global model is not finite or too large")
        if (digest := digest_of(arrays)) != passed_on.digest:
            raise GlobalModelError(
                f"{self.client}: the received global model {version} has the digest {digest}, and most nodes "
                f"hold {passed_on.digest!r}; request it from another node"
            )
        model = GlobalModel.of(arrays)
        vectors = [model.vector, *([model.mean.vector] if model.mean else [])]
        if any(vector[self.variances].min(initial=0.0) < 0 for vector in vectors):
            raise GlobalModelError(f"{self.client}: the received global model has a running variance below 0")
        self._write(version, model)

    def _write(self, version: int, model: GlobalModel) -> str:
        arrays = model.arrays()
        digest = digest_of(arrays)
        self.store.write(_KIND, version, arrays, {"layout": self.layout.digest, "digest": digest})
        return digest


def _is_rounded(array: NDArray[Any], own: NDArray[Any]) -> bool:
    """Whether values differ only by the rounding of different processors; exponents differ by one at most."""
    if array.dtype.kind != "f":
        return bool((np.abs(array.astype(np.int64) - own.astype(np.int64)) <= 1).all())
    return np.allclose(array, own, rtol=_ROUNDING, atol=_ROUNDING)
