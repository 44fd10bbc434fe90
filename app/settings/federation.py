"""Settings section `federation`: participants, rounds, shared arrays, and the server optimiser."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.section import AtLeastOne, Count, NotNegative, section

_Momentum = Annotated[float, Field(ge=0.0, le=0.9999)]
_Part = Annotated[float, Field(ge=1e-6, le=1.0)]
_Seconds = Annotated[float, Field(ge=0.1)]

DEFAULT_PRIVATE = ("*classifier*",)
"""Default of `federation.private`."""


@section("federation.server_optimiser")
class ServerOptimiserSettings:
    """The step from the averaged update to the next global model, computed by every client alike.

    Args:
        name: "average" (McMahan et al., 2017), "momentum" (FedAvgM, Hsu et al., 2019) or "adam" (FedAdam, Reddi et
            al., 2021).
        lr: server learning rate; null takes 1, and 0.01 for "adam", whose step does not shrink with the update.
        momentum: of "momentum"; beta1, beta2 and epsilon (tau) of "adam".
    """

    name: Literal["average", "momentum", "adam"] = "average"
    lr: NotNegative | None = None
    momentum: _Momentum = 0.9
    nesterov: bool = False
    beta1: _Momentum = 0.9
    beta2: _Momentum = 0.99
    epsilon: Annotated[float, Field(ge=1e-12)] = 1e-3


@section("federation")
class FederationSettings:
    """Participants, rounds, and shared arrays.

    Args:
        num_clients: simulated clients; in deployment the number of nodes to wait for.
        fraction: share of the known nodes that train in a round.
        weighting: coefficients by "examples", "uniform", or "cosine_distance" (FedPav's weights, Zhuang et al., 2020).
        max_share: largest share of one client in a sum of three clients or more, whatever number of images it claims;
            the excess goes to the others. With a half no client outweighs all others together; 1 for no limit.
        quorum: replies needed, as a share of the cohort.
        retries: how often a round below the quorum is repeated.
        deadline: seconds for one round, at most.
        straggler_factor: the server waits for a client this many times its slowest earlier answer, and two minutes at
            least; for a client without an answer to its last message half a minute, until it answers; 0 for `deadline`
            only.
        start_timeout: seconds to wait for `num_clients` nodes.
        patience: rounds without a gain of more than `min_delta` in the headline before the run ends; 0 for never.
        measure_every: the global model is measured on `data.val_split` every so many rounds; 0 for never.
        private: name patterns of arrays that never leave a node; each must match one. A task's heads never leave it
            anyway.
        batch_norm: "shared", or "local" to keep BatchNorm layers on the node (FedBN, Li et al., 2021).
        averaged_rounds: last rounds of a run whose global models are averaged; the mean is the model that the run
            results in: measured in the end, exported, personalised from (Izmailov et al., 2018). 0 or 1: the last one.
        resume: continue after the last complete round in the run folder.
        authority: public key of the authority that certified the names of sites, 64 hexadecimal digits; "" takes each
            node at its word. `run.sh` gives it.
    """

    num_clients: AtLeastOne = 4
    rounds: AtLeastOne = 10
    fraction: _Part = 1.0
    weighting: Literal["examples", "uniform", "cosine_distance"] = "examples"
    max_share: _Part = 0.5
    quorum: _Part = 0.5
    retries: Count = 1
    deadline: _Seconds = 3600.0
    straggler_factor: NotNegative = 3.0
    start_timeout: _Seconds = 300.0
    patience: Count = 0
    min_delta: NotNegative = 0.001
    measure_every: Count = 1
    private: list[str] = field(default_factory=lambda: list(DEFAULT_PRIVATE))
    batch_norm: Literal["shared", "local"] = "shared"
    averaged_rounds: Count = 0
    resume: bool = False
    authority: str = ""
    server_optimiser: ServerOptimiserSettings = field(default_factory=ServerOptimiserSettings)

    def __post_init__(self) -> None:
        if self.averages and self.patience:
            raise SettingsError(
                f"federation.averaged_rounds={self.averaged_rounds} averages the last of all rounds, before which "
                f"federation.patience={self.patience} may end the run: set one of them to 0"
            )

    @property
    def averages(self) -> bool:
        """Whether the mean of several models is the run's model."""
        return self.averaged_rounds > 1
