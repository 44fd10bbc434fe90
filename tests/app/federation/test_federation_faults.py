"""Nodes that fail, come back or lose something: nobody else loses anything."""

import shutil

import numpy as np
import pytest
from federation_checks import assert_same_arrays, assert_same_run, kind_of
from flwr.app import Error, Message

from app import client_app
from app.experiment.compare import read_nodes
from app.federation.client import TaskClient
from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.plain import PlainCipher
from strategies.partial_sync import PartialSync
from strategies.rounds import FederationError

pytestmark = pytest.mark.slow


def test_a_node_that_lost_its_folder_is_given_the_model_by_another(make_federation):
    federation = make_federation(changes="federation.rounds=5")

    def lose(message, reply):
        if kind_of(message) == ("train", 2) and message.metadata.dst_node_id == 1:
            shutil.rmtree(federation.folder.path / "nodes" / "client-0")
            client_app._make_client.cache_clear()
        return reply

    federation.run(lose)
    left_out = [[row["client"] for row in line["left_out"]] for line in federation.lines()]
    assert left_out == [[], [], ["client-0"], [], [], []]
    assert "cannot reach 2" in federation.lines()[2]["left_out"][0]["reason"]
    (relayed,) = [message for message in federation.grid.sent if m.GLOBAL in message.content]
    assert (kind_of(relayed), relayed.metadata.dst_node_id) == (("train", 4), 1)
    first, second = federation.held("global", 5).values()
    assert_same_arrays(first, second)
    assert federation.folder.read_summary()["rounds"] == 5


def test_a_client_whose_images_are_gone_leaves_the_round_to_the_others(make_federation, pictures_root, tmp_path):
    own = shutil.copytree(pictures_root, tmp_path / "own")
    nodes = [
        {"partition-id": 0, "num-partitions": 2},
        {"partition-id": 1, "num-partitions": 2, "data-root": str(own)},
    ]
    federation = make_federation(node_configs=nodes)

    def remove(message, reply):
        if kind_of(message) == ("train", 1) and message.metadata.dst_node_id == 2:
            shutil.rmtree(own)
        client_app._make_client.cache_clear()  # a new process for each message
        return reply

    federation.run(remove)
    lines = federation.lines()
    assert [list(line["clients"]) for line in lines] == [["client-0", "client-1"]] + [["client-0"]] * 3
    for line in lines[1:]:
        assert len(line["left_out"]) == 1
        reason = line["left_out"][0]["reason"]
        assert "DataError; the site's own log says more" in reason
        assert str(own) not in reason, "not a node of Flower's simulation: it has data of its own"
    assert {row["client"] for line in lines[2:] for row in line["left_out"]} == {"client-1"}


def fails_in_round_3(message, reply):
    if kind_of(message) == ("train", 3) and message.metadata.dst_node_id == 2:
        reply.content[m.UPDATE] = m.bytes_record(m.UPDATE, b"garbage")
    return reply


def test_what_was_learnt_for_a_refused_update_is_not_kept(make_federation, monkeypatch):
    """The next round starts from the classifier and the moments of the last one that counted."""
    encrypt = PlainCipher.encrypt
    kept = {}

    def refuse(cipher, vector, coefficient, binding, **options):
        if binding.server_round == 2:
            kept.update({name: store.rounds("private") for name, store in federation.stores().items()})
            raise CipherError("a value is too large")
        return encrypt(cipher, vector, coefficient, binding, **options)

    federation = make_federation(changes="federation.rounds=1 federation.quorum=1").run()
    monkeypatch.setattr(PlainCipher, "encrypt", refuse)
    with pytest.raises(FederationError, match="a value is too large"):
        make_federation(changes="federation.rounds=2").resume()
    assert any(rounds == [1, 2] for rounds in kept.values()), "it had been written"
    for store in federation.stores().values():
        assert store.rounds("private") == store.rounds("local") == [1]


def test_below_the_quorum_the_run_stops_and_its_checkpoint_is_whole(make_federation, uninterrupted):
    federation = make_federation(changes="federation.rounds=4 federation.quorum=1.0")
    with pytest.raises(FederationError, match=r"round 3 stayed below the quorum: client-1: payload of 7 bytes"):
        federation.run(fails_in_round_3)
    assert not (federation.folder.path / "summary.json").exists()
    assert [line["server_round"] for line in federation.lines()] == [1, 2]
    assert federation.checkpoint()[1]["server_round"] == 2
    federation.resume()
    assert_same_run(federation, uninterrupted)


def test_a_reply_left_out_is_not_in_the_mean(make_federation):
    federation = make_federation().run(fails_in_round_3)
    summary = federation.folder.read_summary()
    assert [row["client"] for row in summary["left_out"]] == ["client-1"]
    before, after = (held["vector"] for held in (federation.held("global", r)["client-0"] for r in (2, 3)))
    local = federation.held("local", 3)["client-0"]["vector"]
    # The mean of one update: weighted by 20/32 and divided by it again, in float32.
    np.testing.assert_allclose(after, local, rtol=0, atol=4e-7 * max(1.0, float(np.abs(local - before).max())))


def test_a_damaged_store_costs_its_own_node_only(make_federation):
    federation = make_federation(changes="federation.rounds=3")

    def damage(message, reply):
        if kind_of(message) == ("train", 2) and message.metadata.dst_node_id == 2:
            store = federation.stores()["client-1"]
            path = store._path("global", 1)
            data = bytearray(path.read_bytes())
            data[-5] ^= 64
            path.unlink()  # only this node's, as on a machine of its own
            path.write_bytes(bytes(data))
        return reply

    federation.run(damage)
    left_out = federation.lines()[2]["left_out"]
    assert [row["client"] for row in left_out] == ["client-1"]
    assert "of another network or damaged" in left_out[0]["reason"]


def test_a_node_that_dropped_out_does_not_stand_for_the_global_model(make_federation):
    federation = make_federation(changes="federation.rounds=3")
    first = []

    def leave(message, reply):
        if kind_of(message) == ("train", 1) and message.metadata.dst_node_id == 1:
            first.append(federation.stores()["client-0"]._path("local", 1).read_bytes())
        if kind_of(message)[1] >= 2 and message.metadata.dst_node_id == 1:
            return None if message.metadata.message_type == "query" else fail_in_training(message)
        return reply

    def fail_in_training(message):
        store = federation.stores()["client-0"]
        for kind in ("global", "private", "local"):  # what it learnt since is not there: it was away
            store.drop_after(kind, 1)
        store._path("local", 1).write_bytes(first[0])
        client_app._make_client.cache_clear()
        return Message(Error(8, "gone"), reply_to=message)

    federation.run(leave)
    models = read_nodes(federation.settings, federation.folder)
    assert list(models["global"]) == ["client-1"]
    assert sorted(models["local"]) == ["client-0", "client-1"]


def test_an_absurd_sum_costs_one_repeated_round(make_federation, uninterrupted):
    """Updates just below what a payload may hold make a sum above it: every client refuses it, keeps its model and says
    so, and the round is run again."""
    federation = make_federation(changes="federation.rounds=4")
    diverged = set()

    def diverge(message, reply):
        node = message.metadata.dst_node_id
        if kind_of(message) == ("train", 2) and node not in diverged:
            diverged.add(node)
            size = (len(m.bytes_of(reply.content, m.UPDATE)) - 16) // 4
            huge = np.full(size, 9e5, np.float32)
            payload = PlainCipher(size).encrypt(huge, 1.0, Binding("", "", 1), state={}, carried={}).payload
            reply.content[m.UPDATE] = m.bytes_record(m.UPDATE, payload)
        return reply

    federation.run(diverge)
    lines = federation.lines()
    [row] = lines[1]["left_out"]
    assert row["client"] == "the sum"
    cause = "the sum of round 2: value 0 is beyond 1.04858e+06"
    assert row["reason"] == f"no client can use the sum of round 2: client-0: {cause}; client-1: {cause}"
    lines[1]["left_out"] = []
    assert lines == uninterrupted.lines()
    for client, arrays in federation.held("global").items():
        assert_same_arrays(arrays, uninterrupted.held("global")[client])


def test_folders_may_have_any_name(make_federation, pictures_root, tmp_path):
    root = shutil.copytree(pictures_root, tmp_path / "Köln 城")
    states = [tmp_path / "größe" / str(i) for i in range(2)]
    nodes = [
        {"partition-id": i, "num-partitions": 2, "data-root": str(root), "state-dir": str(state)}
        for i, state in enumerate(states)
    ]
    federation = make_federation(changes="federation.rounds=1", node_configs=nodes).run()
    assert federation.folder.read_summary()["left_out"] == []
    assert all(list((state / "pictures").iterdir()) for state in states)


def test_a_client_takes_no_share_beyond_the_cap(make_federation):
    """A server that gives one of three clients nearly all the weight makes the sum that client's update."""
    three = "federation.num_clients=3 federation.rounds=1 data.partition.by=identity federation.retries=0"
    nodes = [{"partition-id": i, "num-partitions": 3} for i in range(3)]
    shares = {1: 0.98, 2: 0.01, 3: 0.01}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartialSync, "coefficients", lambda *_: shares)
        federation = make_federation(changes=three, node_configs=nodes).run()
    (row,) = federation.folder.read_summary()["left_out"]
    assert "the server gives it a share of 0.98, and the largest is 0.5" in row["reason"]
    assert list(federation.lines()[0]["clients"]) == ["client-1", "client-2"]


def start_apart(monkeypatch, amount):
    """The starting values of the second client, by as much as another processor would draw them, or by more."""
    drawn = TaskClient.initial_arrays

    def initial_arrays(client):
        arrays = drawn(client)
        if client.name == "client-1":
            arrays = {name: array + np.float32(amount) * (array != 0) for name, array in arrays.items()}
        return arrays

    monkeypatch.setattr(TaskClient, "initial_arrays", initial_arrays)


@pytest.mark.parametrize("cipher", ["plain", "kahe"])
def test_sites_with_processors_of_two_kinds_train_one_model(make_federation, monkeypatch, cipher):
    """torch draws normal values with AVX2 and without in two ways, up to 8e-7 apart: neither start has a majority."""
    start_apart(monkeypatch, 8e-7)
    federation = make_federation(changes=f"federation.rounds=1 privacy.cipher={cipher}").run()
    assert [line["left_out"] for line in federation.lines()] == [[], []]
    first, second = federation.held("global", 1).values()
    assert_same_arrays(first, second)
    relayed = [kind_of(message) for message in federation.grid.sent if m.GLOBAL in message.content]
    assert relayed == [("train", 1)]


def test_a_node_takes_no_other_start_than_its_settings_give(make_federation, monkeypatch):
    start_apart(monkeypatch, 1e-3)
    with pytest.raises(FederationError, match="the received starting model is not this node's own"):
        make_federation(changes="federation.rounds=1 federation.quorum=1").run()
