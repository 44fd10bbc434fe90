"""One federated client of any task: a trainer, its node store and its cipher, as a NumPyClient of Flower.

Data flow of a round: decrypt the last aggregate and apply it through the server optimiser, measure the global model if
requested, train, and send the weighted, encrypted update.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from flwr.client import NumPyClient
from numpy.typing import NDArray
from torch import nn

from app.core.arrays import (
    float_arrays,
    float_views,
    home_patterns,
    load_arrays,
    private_patterns,
    require_patterns,
    shared_layout,
    shared_parameters,
    statistics_mask,
    variances_mask,
)
from app.core.global_state import GlobalModel
from app.core.memory import give_back
from app.core.node_store import NodeStore
from app.core.sample import Sample
from app.data.readers.reader import Direction
from app.experiment.held_out import HeldOut
from app.federation.batches import ClientBatches
from app.federation.client_state import ClientState
from app.federation.feature_shift import PROBES, cosine_shift
from app.federation.global_model import GlobalModels
from app.federation.ledger import PrivacyLedger
from app.federation.measuring import evaluation_loss, global_measures
from app.federation.opened_sums import OpenedSums
from app.federation.personal import keep_personal, note_held_out
from app.federation.round_request import Bytes, ClientError, RoundRequest
from app.federation.share_store import ShareStore
from app.federation.site_policy import SitePolicy
from app.settings.load import Settings
from app.tasks.task import Task, UnfitDataError
from app.training.trainer import TrainReport, round_steps, total_steps, train
from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError, ClientCipher
from strategies.ciphers.kahe.client_half import KaheCipher
from strategies.server_optimiser import ServerOptimiser
from strategies.shared_arrays import is_private

Vector = NDArray[np.float32]


class TaskClient(NumPyClient):
    """A client of any task. Each message is parsed into a `RoundRequest`.

    Args:
        name: of the client in metrics.
        samples: its training images.
        directions: its validation queries and galleries; may be empty.
        store: its node store.
        cipher: builds the client's half of the cipher from a mask (size,) of the BatchNorm statistics.
        shares: records of this node's shares; None for a cipher without shares.
        ledger: of the node's epsilon under differential privacy.
        run_key: identifies the run.
        policy: of the site; None for a client without one, such as a simulated one.
        held_out: what its personal model is chosen by; None for none.

    Raises ClientError without training images.
    """

    def __init__(
        self,
        *,
        name: str,
        task: Task,
        settings: Settings,
        samples: Sequence[Sample],
        directions: Sequence[Direction],
        store: NodeStore,
        cipher: Callable[[NDArray[np.bool_]], ClientCipher],
        shares: ShareStore | None,
        ledger: PrivacyLedger,
        server_optimiser: ServerOptimiser,
        run_key: str,
        policy: SitePolicy | None = None,
        held_out: HeldOut | None = None,
    ) -> None:
        self.name = name
        self.task = task
        self.compute = task.compute
        self.settings = settings
        self.samples = task.learnable(samples)
        self.directions = list(directions)
        self.store = store
        self.shares = shares
        self.ledger = ledger
        self.run_key = run_key
        self.policy, self.held_out = policy, held_out
        if not self.samples:
            unfit = f", as none of {len(samples)} can be used for training" if samples else ""
            raise ClientError(f"{name} has no training images{unfit}")
        try:
            self.num_labels = task.num_labels(self.samples)
        except UnfitDataError as error:
            raise ClientError(f"{name}: {error}") from error
        self.network: nn.Module = task.build(self.num_labels, settings.seed)
        require_patterns(self.network, settings.federation)
        self.layout = shared_layout(self.network, settings.federation, task.heads)
        statistics = statistics_mask(self.network, self.layout)
        self.cipher = cipher(statistics)
        if policy is not None:
            policy.check_update(self.layout.names, self.network.state_dict().keys(), self.cipher.key_id)
        self.models = GlobalModels(
            name,
            store,
            layout=self.layout,
            statistics=statistics,
            variances=variances_mask(self.network, self.layout),
            initial=lambda: self.layout.flatten(self.initial_arrays()),
            server_optimiser=server_optimiser,
            cipher=self.cipher,
            run_key=run_key,
            sums=OpenedSums(store.folder.parent, self.cipher.key_id, run_key) if self.cipher.key_id else None,
            least=2 if policy is None else policy.policy.cohort.least,
            averaged_from=settings.averaged_from,
        )
        self.private = private_patterns(self.network, settings.federation, task.heads)
        self.kept = ClientState(store, self.layout.digest, self.private)
        self.batches = ClientBatches(settings, task, name, self.samples, store, self.network)

    def initial_arrays(self) -> dict[str, Vector]:
        """Initial values of the network; rebuilt on demand, as only the first round needs them."""
        return float_arrays(self.task.build(self.num_labels, self.settings.seed))

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The client's description for the server."""
        versions = self.models.held()
        return {
            m.CLIENT: self.name,
            m.TASK: self.task.name,
            m.LAYOUT: self.layout.digest,
            m.KEY_ID: self.cipher.key_id,
            m.NUM_EXAMPLES: len(self.samples),
            **({m.SHARE_KEY: self.shares.keys.text} if self.shares else {}),
            m.HELD_ROUNDS: list(versions),
            m.HELD_DIGESTS: list(versions.values()),
        }

    def fit(self, parameters: list[Bytes], config: dict[str, Any]) -> tuple[list[Bytes], int, dict[str, Any]]:
        """Train one round: [encrypted update], number of examples, and measures."""
        started = time.perf_counter()
        request = RoundRequest.of(parameters, config)
        server_round, binding = request.server_round, self._binding(request)
        coefficient = request.share(self.name, self.settings.federation.max_share)
        attempt = f"{server_round}.{binding.attempt} {binding.nonce}"
        model = self._begin(attempt, request)
        self.ledger.require()
        with self.store.keeping(attempt):  # before training, which would be wasted
            binding, seeds = self.shares.begin(binding, request.share_keys) if self.shares else (binding, {})
        note_held_out(self, self.held_out)
        optimiser = self._load(model.vector, server_round)
        measures: dict[str, Any] = {}
        if request.measure:
            measures |= global_measures(self.task, self.network, self.directions)
        probes = self._probes() if self.settings.federation.weighting == "cosine_distance" else None
        report = self._train(server_round, optimiser)
        if probes is not None:
            measures[m.FEATURE_SHIFT] = cosine_shift(probes, self._probes())
            coefficient *= measures[m.FEATURE_SHIFT]
        local = self.layout.flatten(float_views(self.network))
        update, state = local - model.vector, model.state
        del model
        if not np.isfinite(update).all():
            raise ClientError(f"{self.name}: value {int(np.argmin(np.isfinite(update)))} of the update is not finite")
        # Written before encryption, which needs the memory; only a later round reads it.
        with self.store.keeping(attempt):
            moments = report.optimiser if self.settings.train.keep_optimiser else {}
            self.kept.keep(server_round, float_views(self.network), local, moments)
            self._note_bad(report)
        del local
        report.optimiser.clear()
        give_back()
        encrypting = time.perf_counter()
        update, spent = self.ledger.release(update)
        measures |= {m.DP_EPSILON: spent} if math.isfinite(spent) else {}
        carried = self.kept.carried(server_round)
        try:
            encrypted = self.cipher.encrypt(update, coefficient, binding, state=state, carried=carried, seeds=seeds)
        except CipherError:  # too large a value
            with self.store.keeping(attempt):
                self.kept.take_back(server_round)
            raise
        measures["seconds_encrypt"] = time.perf_counter() - encrypting
        with self.store.keeping(attempt):
            self.kept.carry(server_round, encrypted.carried)
        measures |= {f"loss_{name}": value for name, value in report.losses.items()}
        measures |= {f"seconds_{name}": value for name, value in report.seconds.items()}
        measures |= {
            "pictures": report.num_images,
            "steps": report.steps,
            "lr": report.lr,
            "bad_pictures": len(self.task.bad_images),
            "seconds_total": time.perf_counter() - started,
        }
        return [np.frombuffer(encrypted.payload, np.uint8)], len(self.samples), measures

    def evaluate(self, parameters: list[Bytes], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Apply the last aggregate, keep and measure the final model, make a personal one if the run has them."""
        request = RoundRequest.of(parameters, config)
        server_round, attempt = request.server_round, f"{request.server_round} final {request.order}"
        model = self._begin(attempt, request)
        self._load(model.result(self.settings.federation), server_round)
        measures = global_measures(self.task, self.network, self.directions) if request.measure else {}
        if self.held_out is not None:
            keep_personal(self, self.held_out, server_round - 1, attempt)
        return evaluation_loss(measures, self.settings.measures[0]), len(self.samples), measures

    def send_global(self, config: dict[str, Any]) -> bytes:
        """A global model of this node, and the server optimiser's moments, sealed for a node that lacks them."""
        request = RoundRequest.of((), config)
        if request.global_version is None:
            raise ClientError(f"{self.name}: no {m.GLOBAL_VERSION} in the message")
        return self.models.sealed(request.global_version, request.global_digest)

    def sum_shares(self, config: dict[str, Any], question: bytes) -> bytes:
        """The sum of the shares that the clients of a sum dealt to this one, sealed for the other clients."""
        cipher = self.cipher
        if self.shares is None or not isinstance(cipher, KaheCipher):
            raise ClientError(f"{self.name} received a question for shares and has none")
        request = RoundRequest.of((), config)
        binding = self._binding(request)
        make = partial(cipher.share_sum, request.clients, question)
        return self.shares.answer(binding, request.share_keys, request.clients, question, make)

    def _binding(self, request: RoundRequest) -> Binding:
        """Binding of a payload, within the site's policy."""
        if self.policy is not None:
            colluding = self.settings.privacy.colluding
            self.policy.check_round(request.cohort, request.coefficient, request.clients, colluding)
        return request.binding(self.run_key, self.layout.digest)

    def _begin(self, attempt: str, request: RoundRequest) -> GlobalModel:
        """The model that an attempt starts from, unless a later attempt has begun."""
        self.store.begin(attempt, request.in_order())
        with self.store.keeping(attempt):
            if self.shares:
                self.shares.close(self.run_key)
            version, total = request.server_round - 1, (request.aggregate, request.coefficient_sum)
            return self.models.reach(version, *total, request.passed_on, request.mean_from)

    # Training and measuring ---------------------------------------------------------------------------------------

    def _load(self, vector: Vector, server_round: int) -> dict[str, Vector]:
        """Load the global model and the node's own arrays into the network; returns the optimiser's moments."""
        load_arrays(self.network, self.layout.unflatten(vector))
        held = self.kept.own(server_round)
        if held is None:
            initial = self.initial_arrays()
            load_arrays(self.network, {k: v for k, v in initial.items() if is_private(k, self.private)})
            if self.settings.train.head_init == "centres":
                self.task.set_heads(self.network, self.samples, self.compute.device)
            return {}
        own, moments = held
        load_arrays(self.network, own)
        return moments

    def _train(self, server_round: int, optimiser: dict[str, Vector]) -> TrainReport:
        settings, batches = self.settings, self.batches.of_round(server_round, self.network)
        total = total_steps(batches, settings.train.epochs)
        return train(
            self.task,
            self.network,
            batches,
            steps=round_steps(total, server_round, settings.federation.rounds),
            total=total,
            settings=settings.train,
            data=settings.data,
            compute=self.compute,
            # Local BatchNorm is not among them: it is trained as if it were shared.
            private=home_patterns(self.network, settings.federation, self.task.heads),
            optimiser=optimiser if settings.train.keep_optimiser else None,
            anchor=shared_parameters(self.network, self.private) if settings.train.fedprox_mu else None,
        )

    def _note_bad(self, report: TrainReport) -> None:
        if bad := self.task.bad_images | dict.fromkeys(report.bad, "cannot be read"):
            (self.store.folder / "bad_pictures.json").write_text(json.dumps(bad, indent=1), encoding="utf-8")

    def _probes(self) -> torch.Tensor:
        return self.task.probe(self.network, self.samples[:PROBES], self.compute.device)
