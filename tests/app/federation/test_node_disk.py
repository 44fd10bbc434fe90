"""Bytes on disk of a simulated run: two copies of the model for each client, and a few for all together."""

import numpy as np

from app.experiment.compare import compare_models, node_stores, read_nodes
from app.federation import client
from app.federation.client_state import drop_moments
from scripts.bench.scale import disk_bytes

CLIENTS = 4
NODES = [{"partition-id": number, "num-partitions": CLIENTS} for number in range(CLIENTS)]
SETTINGS = (
    f"data.partition.by=identity federation.num_clients={CLIENTS} federation.rounds=1 train.epochs=2 data.val_split= "
    "train.optimiser=adamw federation.server_optimiser.name=momentum"
)


def test_a_run_keeps_two_copies_of_the_model_a_client(make_federation):
    federation = make_federation("run", SETTINGS, NODES).run()
    for store in node_stores(federation.folder).values():
        drop_moments(store)
    held = federation.held("local")
    assert len(held) == CLIENTS
    compare_models(federation.settings, federation.folder)
    copy = next(iter(held.values()))["vector"].nbytes
    # A client's own network twice, as checkpoint as well; for all together two global models with momentum, another
    # checkpoint, the last sum, and charts: below three copies a client from eight clients on.
    assert disk_bytes(federation.folder.path) <= (2.1 * CLIENTS + 6.5) * copy
    for store in federation.stores().values():
        assert (store.rounds("local"), store.rounds("private")) == ([1], [1])
        assert not [name for name in store.read("private", 1)[0] if name.startswith("optimiser/")]
    models = list(read_nodes(federation.settings, federation.folder)["global"].values())
    shared = [name for name in models[0] if f"array/{name}" not in federation.held("private")["client-0"]]
    assert len(shared) > 10
    for model in models[1:]:
        apart = [name for name in shared if not np.shares_memory(model[name], models[0][name])]
        assert apart == [], "the file of all clients is read once"


def test_a_run_that_has_ended_goes_on_to_more_rounds_with_its_moments(make_federation, monkeypatch):
    federation, moments = make_federation("more", "federation.rounds=2 privacy.cipher=plain").run(), []
    train = client.train

    def note(*args, optimiser, **options):
        moments.append(len(optimiser))
        return train(*args, optimiser=optimiser, **options)

    monkeypatch.setattr(client, "train", note)
    federation.run(more="federation.resume=true federation.rounds=3")
    assert len(moments) == 2
    assert min(moments) > 0
