"""The training stream of one federated client, equalised from the round on that the settings say."""

from collections.abc import Sequence

from torch import nn

from app.comparison import client_seed, equalise_alone
from app.data.sample import Sample
from app.equalisation import Equalised, equalise
from app.files import replacing
from app.node_store import NodeStore
from app.pre_model import model_key
from app.settings import Settings
from app.tasks.task import Batches, Task

_NOTE = "pre_model.txt"  # key of the global model that a node equalised its pictures with


class ClientBatches:
    """Streams of one client's pictures, by round.

    Raises the errors of `Task.batches`."""

    def __init__(self, settings: Settings, task: Task, name: str, samples: Sequence[Sample], store: NodeStore) -> None:
        self.settings, self.task, self.name, self.samples, self.store = settings, task, name, samples, store
        self.equalised: Equalised | None = None
        self._batches = task.batches(samples, client_seed(settings, name))

    def of_round(self, server_round: int, network: nn.Module) -> Batches:
        """The stream of a round, 1 and up, in which `network` is what the client begins with.

        Raises SettingsError for a pre-model that does not fit."""
        options = self.settings.data.equalise
        if options.on and server_round >= options.from_round and self.equalised is None:
            self.equalised = self._equalise(network)
            self._batches = self.task.batches(self.equalised.samples, client_seed(self.settings, self.name))
        return self._batches

    def _equalise(self, network: nn.Module) -> Equalised:
        """With the global model as pre-model, the one of the first equalised round is noted in the node's store: in a
        later round another process finds what was made with it."""
        if self.settings.data.equalise.model != "global":
            found = equalise_alone(self.settings, self.samples, self.name)
            assert found is not None
            return found
        note = self.store.folder / _NOTE
        if not note.exists():
            with replacing(note) as temporary:
                temporary.write_text(model_key(network, self.task), encoding="utf-8")
        key = note.read_text(encoding="utf-8")
        seed = client_seed(self.settings, self.name)
        return equalise(self.settings, self.samples, lambda: network, model_key=key, seed=seed, name=self.name)
