"""Rules, state and report of a round."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from strategies.convergence import Convergence

_LONGEST_REASON = 2000  # characters
THE_SUM = "the sum"
"""In place of a client's name, where a sum was left out."""


class FederationError(RuntimeError):
    """The run cannot go on; the last checkpoint is whole."""


class UnusableSumError(FederationError):
    """No client can use the sum of the last round."""


@dataclass(frozen=True)
class Missing:
    """Why a round cannot begin: `wanted` nodes are needed, and these are `here`. `seconds` are left to wait; `refused`
    has a sentence for each node that is there and cannot take part."""

    wanted: int
    here: Sequence[str]
    refused: Sequence[str]
    seconds: float


class RoundListener(Protocol):
    """Is told how rounds go. A round whose `finished` fails did not happen."""

    def waiting(self, missing: Missing) -> None:
        """Too few nodes are there; told again and again while that is so."""

    def started(self, server_round: int, attempt: int, cohort: Sequence[str]) -> None:
        """Messages go out to these clients."""

    def replied(self, client: str) -> None:
        """A client's reply was added to the sum."""

    def finished(self, report: "RoundReport", state: "ServerState") -> None:
        """The round is complete; `state` is to be stored."""

    def undone(self, state: "ServerState") -> None:
        """The last round was taken back, because no client could use its sum; `state` is to be stored."""


@dataclass(frozen=True)
class RoundRules:
    """How rounds are run; see `FederationSettings` for each value and its default. With `key_id` None the key counts
    that most of the first nodes hold. `headline` is the measure of the global model that convergence is judged by. A
    cohort has at most `max_clients` clients, if that is not 0; a sum has at least `min_clients`. Nodes that are
    `simulated` say how many there are. `measures` are shares of one that the task measures.

    A client that has answered before is waited for `straggler_factor` times its slowest answer to such a question, at
    least `straggler_seconds`, and never beyond `deadline`; 0 for the deadline alone. One that was silent is asked
    again, and waited for `silent_seconds`, until it answers. In round `long_round`, where clients do more than train,
    they have the whole deadline.

    `run_key` names the run on the nodes, so that a resumed run finds what it left there and a new one finds nothing.
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
    straggler_seconds: float = 300.0
    silent_seconds: float = 30.0
    long_round: int = 1
    masking: bool = False
    max_clients: int = 0
    min_clients: int = 1
    seed: int = 0
    simulated: bool = False
    measures: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerState:
    """All that a resumed run needs. `aggregate` is the sum of round `server_round`, not yet applied by anybody.
    `generation` is larger at each start of the server; nodes refuse what an earlier one asked for."""

    server_round: int
    convergence: Convergence
    aggregate: bytes = b""
    coefficient_sum: float = 0.0
    key_id: str | None = None
    generation: int = 0


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
        """Count and name a client whose reply is not part of the round. A client words its reason itself: what is kept
        of it has a bound, and nothing that a log or a terminal would obey."""
        shown = "".join(letter if letter.isprintable() else " " for letter in reason[:_LONGEST_REASON])
        self.left_out.append({"client": client, "reason": shown})
