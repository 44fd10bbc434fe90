"""Training streams of one federated client, equalised from the configured round on."""

from collections.abc import Sequence

from torch import nn

from app.core.files import replacing
from app.core.node_store import NodeStore
from app.core.sample import Sample
from app.equalise.decision import needs_embeddings
from app.equalise.pre_model import model_key, require_fit
from app.equalise.run import Equalised, equalise, equalised_before, require_library
from app.experiment.baselines import equalise_alone
from app.experiment.training_alone import client_seed
from app.settings.load import Settings
from app.tasks.task import Batches, Task

_NOTE = "pre_model.txt"  # round and key of the global model that a node equalised its images with


class ClientBatches:
    """Streams of one client's images, by round.

    Args:
        network: of the client, to see whether a pre-model fits.

    Raises the errors of `Task.batches`; for a pre-model that is missing FileNotFoundError, for one of another network
    SettingsError."""

    def __init__(
        self,
        settings: Settings,
        task: Task,
        name: str,
        samples: Sequence[Sample],
        store: NodeStore,
        network: nn.Module,
    ) -> None:
        self.settings, self.task, self.name, self.samples, self.store = settings, task, name, samples, store
        self.equalised: Equalised | None = None
        self._plain = task.batches(samples, client_seed(settings, name))
        self._equal: Batches | None = None
        options = settings.data.equalise
        if options.on:  # said at the start, not in the round that equalises
            require_library(settings, task)
            if options.model not in ("own", "global"):
                require_fit(options.model, network, task)
        self._equalises = needs_embeddings(samples, options)

    def of_round(self, server_round: int, network: nn.Module) -> Batches:
        """The stream of a round, 1 and up; `network` is the client's at the begin of the round."""
        options = self.settings.data.equalise
        if not self._equalises or server_round < options.from_round:
            return self._plain
        if self._equal is None:
            self.equalised = self._equalise(server_round, network)
            self._equal = self.task.batches(self.equalised.samples, client_seed(self.settings, self.name))
        return self._equal

    def _equalise(self, server_round: int, network: nn.Module) -> Equalised:
        """With the global model as pre-model, the key of the first equalised round's model is noted in the node's
        store, so that another process finds its record in a later round. Without such a note the present model is as
        good."""
        if self.settings.data.equalise.model != "global":
            found = equalise_alone(self.settings, self.samples, self.name, always=True)
            assert found is not None
            return found
        seed, noted = client_seed(self.settings, self.name), self._noted_before(server_round)
        if noted is not None:
            earlier = equalised_before(self.settings, self.samples, model_key=noted, seed=seed, name=self.name)
            if earlier is not None:
                return earlier
        key = model_key(network, self.task)
        self.store.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.store.folder / _NOTE) as temporary:
            temporary.write_text(f"{server_round} {key}", encoding="utf-8")
        return equalise(self.settings, self.samples, lambda: network, model_key=key, seed=seed, name=self.name)

    def _noted_before(self, server_round: int) -> str | None:
        """The key of an earlier round. A note of this round or a later one is from before a rollback."""
        try:
            noted, key = (self.store.folder / _NOTE).read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return None
        return key if noted.isdecimal() and int(noted) < server_round else None
