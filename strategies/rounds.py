"""Rules, state and report of a round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flwr.app import ArrayRecord

from models.errors import FedVehicleReidError
from strategies import messages as m
from strategies.claims import typical

_LONGEST_REASON = 2000  # characters
THE_SUM = "the sum"
"""In place of a client's name, where a sum was left out."""


class FederationError(FedVehicleReidError, RuntimeError):
    """The run cannot continue; the last checkpoint is whole."""


class UnusableSumError(FederationError):
    """No client can use the sum of the last round."""


SIMULATED_AT_ONCE = 16
"""Messages that wait for a reply at once in a simulation, at least; the rest are sent as replies come."""


@dataclass(frozen=True)
class Missing:
    """Missing nodes of a round that cannot begin: `wanted` are needed, `here` are connected. `seconds` are left to
    wait; `refused` has a sentence for each connected node that cannot take part."""

    wanted: int
    here: Sequence[str]
    refused: Sequence[str]
    seconds: float


class RoundListener(Protocol):
    """Observer of the rounds. A round whose `finished` fails did not happen."""

    def waiting(self, missing: Missing) -> None:
        """Too few nodes are connected; called repeatedly while that is so."""

    def started(self, server_round: int, attempt: int, cohort: Sequence[str]) -> None:
        """Messages go out to these clients."""

    def delivering(self, server_round: int, cohort: Sequence[str], seconds: float) -> None:
        """The final model goes out to these clients, as `server_round`; their answers may take so many seconds."""

    def alive(self) -> None:
        """The server waits for replies; called several times a second while that is so."""

    def dropped(self, client: str, reason: str) -> None:
        """A client gives no answer that can be used: it failed, came too late, or was refused."""

    def replied(self, client: str) -> None:
        """A client's reply was added to the sum, or its measures of the final model have come."""

    def sharing(self, clients: Sequence[str]) -> None:
        """The updates are in; these clients of the sum have not yet sent a share sum, without which it does not open.
        Called when they are asked, and after each answer."""

    def finished(self, report: "RoundReport", state: "ServerState") -> None:
        """The round is complete; `state` is to be stored."""

    def undone(self, state: "ServerState") -> None:
        """The last round was rolled back, because no client could use its sum; `state` is to be stored."""


@dataclass(frozen=True)
class RoundRules:
    """Rules of the rounds; see `FederationSettings` for each value and its default. With `key_id` None the key of most
    of the first nodes is required. `headline` is the measure of the global model that decides on convergence. A cohort
    has at most `max_clients` clients, if that is not 0; a sum has at least `min_clients`. `simulated` nodes report
    their number, and `simulated_at_once` of them compute at a time. `measures` are the task's measures in [0, 1].

    The server waits for a client `straggler_factor` times its slowest earlier answer to such a message, at least
    `straggler_seconds`, and never beyond `deadline`; 0 for the deadline only. It queries a silent client again and
    waits `silent_seconds`, until it answers. In round `long_round`, where clients do more than train, the whole
    deadline applies. The final model, from which clients may make models of their own, has `final_seconds`, if that is
    not 0.

    `share_authority` gives the public key of who signs the share keys that nodes must have, once a node has answered;
    None for a cipher without shares.

    `check_versions` gets the name of a client and its description, and raises RefusedError for libraries with which it
    cannot take part; None for no check.

    `mean_from` is the version of the first global model in the mean of the last ones; 0 for no mean.

    `run_key` identifies the run on the nodes: a resumed run finds its state there, a new one finds none.
    """

    rounds: int
    num_clients: int
    task: str
    layout: str
    run_key: str
    fraction: float
    weighting: str
    quorum: float
    retries: int
    deadline: float
    straggler_factor: float
    start_timeout: float
    measure_every: int
    max_share: float
    key_id: str | None = ""
    headline: str = "mAP"
    straggler_seconds: float = 120.0
    silent_seconds: float = 30.0
    long_round: int = 1
    final_seconds: float = 0.0
    max_clients: int = 0
    min_clients: int = 1
    mean_from: int = 0
    seed: int = 0
    simulated: bool = False
    simulated_at_once: int = 0
    measures: tuple[str, ...] = ()
    share_authority: Callable[[], Ed25519PublicKey] | None = None
    check_versions: Callable[[str, Mapping[str, Any]], None] | None = None

    @property
    def whole_final(self) -> float:
        """The longest wait for an answer to the final model."""
        return self.final_seconds or self.deadline


@dataclass(frozen=True)
class Convergence:
    """Convergence of a run: no gain of more than `min_delta` over `patience` measured rounds; the rule and its state.
    `patience` 0 never stops."""

    patience: int
    min_delta: float
    best: float = float("-inf")
    without_gain: int = 0
    version: int = -1
    """The version of the global model that was measured last."""

    def after(self, measure: float, version: int) -> "Convergence":
        """The rule after one more measure, larger is better. A version counts once, however often it is measured."""
        if version <= self.version:
            return self
        if measure > self.best + self.min_delta:
            return Convergence(self.patience, self.min_delta, measure, 0, version)
        return Convergence(self.patience, self.min_delta, self.best, self.without_gain + 1, version)

    @property
    def reached(self) -> bool:
        """Whether the run should stop."""
        return self.patience > 0 and self.without_gain >= self.patience


@dataclass(frozen=True)
class ServerState:
    """All that a resumed run needs. `aggregate` is the sum of round `server_round`, not yet applied by anybody.
    `generation` increases with each start of the server; nodes refuse requests of an earlier one. `mean_from` is that
    of the rules when `aggregate` was made, so that all nodes make the same model of it, also those that get it after a
    resume with other settings; None if unknown."""

    server_round: int
    convergence: Convergence
    aggregate: bytes = b""
    coefficient_sum: float = 0.0
    key_id: str | None = None
    generation: int = 0
    mean_from: int | None = None

    @property
    def arrays(self) -> ArrayRecord:
        """The aggregate as Flower's hooks take and return it; empty before the first round."""
        return m.bytes_record(m.AGGREGATE, self.aggregate) if self.aggregate else ArrayRecord()

    def after(self, report: "RoundReport", aggregate: bytes, rules: RoundRules, key_id: str | None) -> "ServerState":
        """The state after the round of a report, with its sum."""
        convergence, name = self.convergence, f"global_{rules.headline}"
        if values := [row[name] for row in report.clients.values() if name in row]:
            convergence = convergence.after(typical(values), report.server_round - 1)
        coefficient_sum, number = report.coefficient_sum, report.server_round
        return ServerState(number, convergence, aggregate, coefficient_sum, key_id, self.generation, rules.mean_from)

    def before(self) -> "ServerState":
        """The state before the last round, without a sum: every node holds the model that it starts from."""
        return replace(self, server_round=self.server_round - 1, aggregate=b"", coefficient_sum=0.0)


@dataclass
class RoundReport:
    """One line of metrics. `measures` are of the global model of version `server_round` - 1."""

    server_round: int
    seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    coefficient_sum: float = 0.0
    attempts: int = 0
    clients: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)

    def leave_out(self, client: str, reason: str) -> None:
        """Count and name a client whose reply is not part of the round. The reason is the client's own text: it is cut
        to a limit and stripped of control characters."""
        shown = "".join(letter if letter.isprintable() else " " for letter in reason[:_LONGEST_REASON])
        self.left_out.append({"client": client, "reason": shown})
