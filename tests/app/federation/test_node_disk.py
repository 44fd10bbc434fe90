"""Bytes on disk of a simulated run: two copies of the model for each client, and a few for all together."""

import numpy as np
import pytest

from app.core.node_store import NodeStore
from app.core.shared_files import SharedFiles
from app.experiment.compare import compare_models, node_stores, read_nodes
from app.federation import client
from app.federation.client_state import ClientState, drop_moments
from scripts.bench.scale import disk_bytes

pytestmark = pytest.mark.slow

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
        assert not [name for name in store.read("private", 1)[0] if name.startswith(("optimiser/", "halved/"))]
    models = list(read_nodes(federation.settings, federation.folder)["global"].values())
    shared = [name for name in models[0] if f"array/{name}" not in federation.held("private")["client-0"]]
    assert len(shared) > 10
    for model in models[1:]:
        apart = [name for name in shared if not np.shares_memory(model[name], models[0][name])]
        assert apart == [], "the file of all clients is read once"


def test_a_client_keeps_three_copies_of_the_model_in_mid_run(make_federation):
    """Its trained network once, and the moments of two rounds, two arrays each of half the size."""
    federation = make_federation("mid", SETTINGS.replace("federation.rounds=1", "federation.rounds=3"), NODES).run()
    for name, store in federation.stores().items():
        copy = federation.held("local")[name]["vector"].nbytes
        assert store.rounds("private") == [2, 3]
        assert store.rounds("local") == [3]
        private = sum(array.nbytes for name, array in store.read("private", 3)[0].items() if name.startswith("array/"))
        own = sum(path.stat().st_size for path in store.folder.iterdir() if path.stat().st_nlink == 1)
        # In a file, names and shapes besides; of private arrays, moments again as large as they.
        assert own <= 3.05 * copy + 4 * private + 200_000


def test_moments_come_back_as_bfloat16_rounds_them(tmp_path):
    rng = np.random.default_rng(0)
    state = ClientState(NodeStore(tmp_path), "layout", [])
    moments = {
        "a/exp_avg": rng.normal(0, 1e-3, (4, 3, 3)).astype(np.float32),
        "a/exp_avg_sq": (rng.random((4, 3, 3)) * 1e-9).astype(np.float32),
        "b/momentum_buffer": np.asfortranarray(rng.normal(0, 50, (5, 6)).astype(np.float32)),
        "a/step": np.array(1001, np.float32),
        "memory/embeddings": rng.random((3, 4)).astype(np.float32),
    }
    state.keep(1, {}, np.zeros(2, np.float32), moments)
    own = state.own(2)
    assert own is not None
    assert own[1].keys() == moments.keys()
    for name, array in own[1].items():
        assert array.dtype == np.float32
        if name.startswith(("a/exp", "b/")):  # 8 bits of precision: at most half of the last one is lost
            _, exponent = np.frexp(moments[name])
            assert (np.abs(array - moments[name]) <= np.ldexp(0.5**9, exponent)).all()
            assert (array.view(np.uint32) & 0xFFFF == 0).all()
        else:
            assert (array == moments[name]).all()


def test_moments_of_an_earlier_version_are_read(tmp_path):
    store = NodeStore(tmp_path)
    kept = np.array([1.23456789, -7e-12], np.float32)
    store.write("private", 1, {"optimiser/a/exp_avg": kept}, {"layout": "layout"})
    own = ClientState(store, "layout", []).own(2)
    assert own is not None
    assert (own[1]["a/exp_avg"] == kept).all()


def test_a_client_whose_repeated_round_is_taken_back_has_a_trained_network(tmp_path):
    """In a simulation, where the one of the round before has gone; a site still has that one."""
    for name, shared in (("simulated", SharedFiles(tmp_path / "shared")), ("site", None)):
        state = ClientState(NodeStore(tmp_path / name, shared), "layout", [])
        for server_round in (1, 2):
            state.keep(server_round, {}, np.full(2, server_round, np.float32), {})
            state.carry(server_round, {})
        state.keep(2, {}, np.full(2, 2.5, np.float32), {})
        state.take_back(2)
        assert state.store.rounds("private") == [1]
        assert state.store.rounds("local") == [2 if shared else 1]


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
