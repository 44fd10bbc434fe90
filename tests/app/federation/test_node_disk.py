"""Bytes on disk of a simulated run: at most three copies of the model for each client."""

from app.experiment.compare import node_stores
from app.federation import client
from app.federation.client_state import drop_moments
from scripts.bench.scale import disk_bytes

CLIENTS = 4
NODES = [{"partition-id": number, "num-partitions": CLIENTS} for number in range(CLIENTS)]
SETTINGS = (
    f"data.partition.by=identity federation.num_clients={CLIENTS} federation.rounds=1 train.epochs=2 data.val_split= "
    "train.optimiser=adamw federation.server_optimiser.name=momentum"
)


def test_a_run_keeps_three_copies_of_the_model_a_client_at_most(make_federation):
    federation = make_federation("run", SETTINGS, NODES).run()
    for store in node_stores(federation.folder).values():
        drop_moments(store)
    held = federation.held("local")
    assert len(held) == CLIENTS
    assert disk_bytes(federation.folder.path) <= 3 * sum(arrays["vector"].nbytes for arrays in held.values())
    for store in federation.stores().values():
        assert (store.rounds("local"), store.rounds("private")) == ([1], [1])
        assert not [name for name in store.read("private", 1)[0] if name.startswith("optimiser/")]


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
