"""Settings of personal models, `personalise`."""

from dataclasses import field
from typing import Annotated

from pydantic import Field

from app.settings.section import AtLeastOne, Count, NotNegative, section


@section("personalise")
class PersonaliseSettings:
    """A model of its own for each client, made at the client after the last round; its weights never leave the node.

    Args:
        enabled: whether clients make one.
        tuning_epochs: of fine-tuning on the client's own images; 0 for none.
        rates: peak learning rates of fine-tuning, as shares of `train.lr`; each gives candidates of its own.
        alone: whether the client trains a model without the federation, with the run's settings, from its start and for
            `train.epochs`. It gives candidates, and nothing is chosen that scores below it. Takes as long as all the
            client's rounds.
        averaged_rounds: last rounds whose global models are averaged to a further candidate; 0 for none. Without effect
            where `federation.averaged_rounds` makes such a mean the global model.
        holdout: share of the client's training vehicles that it keeps out of its own training to choose by, if
            `data.val_split` names no split; divided by camera, by dirichlet or not at all, another client may train
            on images of the same vehicles.
        least: vehicles needed to choose by; with fewer a client keeps the global model.
        confidence: of the gain over the global model on the held-out vehicles, from resampling them.
        deadline: seconds that the server waits for a client's personal model, beyond `federation.deadline`.
    """

    enabled: bool = False
    tuning_epochs: NotNegative = 8.0
    rates: Annotated[list[Annotated[float, Field(gt=0.0, le=10.0)]], Field(max_length=8)] = field(
        default_factory=lambda: [0.3, 1.0]
    )
    alone: bool = True
    averaged_rounds: Count = 0
    holdout: Annotated[float, Field(ge=0.01, le=0.5)] = 0.15
    least: AtLeastOne = 8
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.9
    deadline: NotNegative = 21600.0
