"""The section `federation`: who takes part, for how long, what is shared, and the server optimiser."""

from dataclasses import dataclass, field

from app.settings.checks import in_range, one_of

DEFAULT_PRIVATE = ("*classifier*",)
"""`federation.private` unless something else is asked for."""


@dataclass(frozen=True)
class ServerOptimiserSettings:
    """The step from the averaged update to the next global model, computed by every client alike.

    Args:
        name: "average" (McMahan et al., 2017), "momentum" (FedAvgM, Hsu et al., 2019) or "adam" (FedAdam, Reddi et
            al., 2021).
        lr: server learning rate; null takes 1, and 0.01 for "adam", whose step does not shrink with the update.
        momentum: of "momentum"; beta1, beta2 and epsilon (tau) of "adam".
    """

    name: str = "average"
    lr: float | None = None
    momentum: float = 0.9
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        one_of("federation.server_optimiser.name", self.name, ("average", "momentum", "adam"))
        in_range("federation.server_optimiser.lr", self.lr or 0.0, 0.0)
        for name in ("momentum", "beta1", "beta2"):
            in_range(f"federation.server_optimiser.{name}", getattr(self, name), 0.0, 0.9999)
        in_range("federation.server_optimiser.epsilon", self.epsilon, 1e-12)


@dataclass(frozen=True)
class FederationSettings:
    """Who takes part, for how long, and what is shared.

    Args:
        num_clients: simulated clients; in deployment the number of nodes to wait for.
        fraction: share of the known nodes asked in a round.
        weighting: coefficients by "examples", "uniform", or "cosine_distance" (FedPav's weights, Zhuang et al., 2020).
        max_share: largest share of one client in a sum of three clients or more, whatever number of images it claims;
            what is cut off goes to the others. With a half no client outweighs all others together; 1 for no limit.
        quorum: replies needed, as a share of the cohort.
        retries: how often a round below the quorum is repeated.
        deadline: seconds for one round, at most.
        straggler_factor: a client that has answered before is waited for so many times its slowest answer, and five
            minutes at least; one that did not answer its last question, for half a minute until it does; 0 for
            `deadline` alone.
        start_timeout: seconds to wait for `num_clients` nodes.
        patience: rounds without a gain of more than `min_delta` in the headline before the run ends; 0 for never.
        measure_every: the global model is measured on `data.val_split` every so many rounds; 0 for never.
        private: name patterns of arrays that never leave a node; each must match one. A task's heads stay there anyway.
        batch_norm: "shared", or "local" to keep BatchNorm layers on the node (FedBN, Li et al., 2021).
        resume: go on after the last complete round in the run folder.
        authority: public key of the authority that certified the names of sites, 64 hexadecimal digits; "" takes each
            node at its word. `run.sh` gives it.
    """

    num_clients: int = 4
    rounds: int = 10
    fraction: float = 1.0
    weighting: str = "examples"
    max_share: float = 0.5
    quorum: float = 0.5
    retries: int = 1
    deadline: float = 3600.0
    straggler_factor: float = 5.0
    start_timeout: float = 300.0
    patience: int = 0
    min_delta: float = 0.001
    measure_every: int = 1
    private: list[str] = field(default_factory=lambda: list(DEFAULT_PRIVATE))
    batch_norm: str = "shared"
    resume: bool = False
    authority: str = ""
    server_optimiser: ServerOptimiserSettings = field(default_factory=ServerOptimiserSettings)

    def __post_init__(self) -> None:
        one_of("federation.weighting", self.weighting, ("examples", "uniform", "cosine_distance"))
        one_of("federation.batch_norm", self.batch_norm, ("shared", "local"))
        for name in ("num_clients", "rounds"):
            in_range(f"federation.{name}", getattr(self, name), 1)
        for name in ("fraction", "max_share", "quorum"):
            in_range(f"federation.{name}", getattr(self, name), 1e-6, 1.0)
        for name in ("retries", "patience", "min_delta", "measure_every", "straggler_factor"):
            in_range(f"federation.{name}", getattr(self, name), 0)
        for name in ("deadline", "start_timeout"):
            in_range(f"federation.{name}", getattr(self, name), 0.1)
