"""Bytes on disk of a simulated run: at most three copies of the model for each client."""

from scripts.bench.scale import disk_bytes

CLIENTS = 4
NODES = [{"partition-id": number, "num-partitions": CLIENTS} for number in range(CLIENTS)]
SETTINGS = (
    f"data.partition.by=identity federation.num_clients={CLIENTS} federation.rounds=1 train.epochs=2 data.val_split= "
    "train.optimiser=adamw federation.server_optimiser.name=momentum"
)


def test_a_run_keeps_three_copies_of_the_model_a_client_at_most(make_federation):
    federation = make_federation("run", SETTINGS, NODES).run()
    held = federation.held("local")
    assert len(held) == CLIENTS
    assert disk_bytes(federation.folder.path) <= 3 * sum(arrays["vector"].nbytes for arrays in held.values())
    for store in federation.stores().values():
        assert (store.rounds("local"), store.rounds("private")) == ([1], [1])
        assert not [name for name in store.read("private", 1)[0] if name.startswith("optimiser/")]
