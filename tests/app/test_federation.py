"""Whole federations in one process: the mathematics, what stays at home, and what survives a crash."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flwr.app import Error, Message
from PIL import Image
from torch.func import functional_call

from app import client_app
from app.arrays import float_arrays, load_arrays, shared_layout
from app.data.source import open_source
from app.model_figures import read_nodes
from app.node_store import NodeStore, digest_of
from app.tasks import make_task
from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.plain import PlainCipher
from strategies.rounds import FederationError

PLAIN_SGD = (
    "train=sgd train.lr=1 train.momentum=0 train.weight_decay=0 train.warm_up=0 train.clip_norm=0 train.epochs=1 "
    "federation.rounds=1 federation.measure_every=0 train.pids_per_batch=8 train.images_per_pid=4 "
    "train.augment.flip=0 train.augment.shift=0 train.augment.rotate=0 train.augment.zoom=0 train.augment.colour=0 "
    "train.augment.blur=0 train.augment.erase=0 loss.metric=none loss.label_smoothing=0 train.channels_last=false"
)


def kind_of(message):
    """("train", 3) for a training message of round 3."""
    return message.metadata.message_type, message.content[m.CONFIG][m.SERVER_ROUND]


def replies(federation, kind):
    """Good replies of a kind by round and client."""
    sent = {message.metadata.message_id: message for message in federation.grid.sent}
    return {
        (kind_of(sent[reply.metadata.reply_to_message_id])[1], reply.content[m.INFO][m.CLIENT]): reply
        for reply in federation.grid.received
        if reply.metadata.message_type == kind and not reply.has_error()
    }


def assert_same_arrays(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def assert_same_run(first, second):
    """Bit for bit: global and private arrays, optimiser moments, aggregates, metrics."""
    for kind in ("global", "private", "local"):
        ours, theirs = first.held(kind), second.held(kind)
        assert ours.keys() == theirs.keys()
        for client in ours:
            assert_same_arrays(ours[client], theirs[client])
    assert first.checkpoint() == second.checkpoint()
    assert first.lines() == second.lines()


def pixels(samples, network):
    """Pictures (N, 3, 32, 32) in float64 as the backbone expects them, without the project's own reader."""
    config = network.vehicle.backbone.pretrained_cfg
    mean, std = (np.array(config[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    rows = [np.asarray(Image.open(sample.path)).transpose(2, 0, 1) / 255 for sample in samples]
    return torch.from_numpy(np.stack([(row - mean) / std for row in rows]))


@pytest.mark.parametrize("batch_norm", ["shared", "local"])
def test_one_full_batch_step_per_client_equals_one_central_step(make_federation, batch_norm):
    """The central step descends sum_k (n_k / n) L_k in one backward pass through one shared network, where L_k is the
    cross-entropy of client k's pictures under its own classifier and with its own batch statistics."""
    federation = make_federation(changes=f"{PLAIN_SGD} federation.batch_norm={batch_norm}").run()
    settings, task = federation.settings, make_task(federation.settings)
    parts = open_source(settings.data, settings.seed).parts(2)
    assert [len(part) for part in parts] == [20, 12]
    networks = [task.build(len({s.pid for s in part}), settings.seed).double() for part in parts]
    layout = shared_layout(networks[0], settings.federation)
    start = layout.unflatten(layout.flatten(float_arrays(networks[0])))
    shared = {name: parameter for name, parameter in networks[0].named_parameters() if name in layout.names}
    total, buffers = 0.0, {}
    for network, part in zip(networks, parts, strict=True):
        labels = torch.tensor([sorted({s.pid for s in part}).index(s.pid) for s in part])
        output = functional_call(network, shared, (pixels(part, network),))
        weight = len(part) / 32
        total = total + weight * F.cross_entropy(output.vehicle.logits, labels)
        for name, buffer in network.named_buffers():
            buffers[name] = buffers.get(name, 0.0) + weight * buffer.double()
    moving = {name: parameter for name, parameter in shared.items() if parameter.requires_grad}
    gradients = dict(zip(moving, torch.autograd.grad(total, list(moving.values())), strict=True))
    assert any("bn" in name for name in layout.names) is (batch_norm == "shared")
    for client, arrays in federation.held("global").items():
        after = layout.unflatten(arrays["vector"])
        for name in layout.names:
            if name in shared:
                expected = start[name] - gradients[name].numpy() if name in gradients else start[name]
            else:
                expected = buffers[name].numpy()
            # float32 against float64: weights below 1, gradients below 0.1 that float32 holds to 1e-7.
            np.testing.assert_allclose(after[name], expected, rtol=1e-6, atol=1e-6, err_msg=f"{client} {name}")
    moved = max(float(np.abs(layout.unflatten(arrays["vector"])[name] - start[name]).max()) for name in moving)
    assert moved > 1e-3  # a thousand times the tolerance: the step is really seen


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, base_overrides):
    from conftest import LocalFederation

    return LocalFederation(tmp_path_factory.mktemp("whole") / "run", f"{base_overrides} federation.rounds=4").run()


class PowerCutError(BaseException):
    """Ends the server wherever it is, as a crash would."""


def test_a_run_stopped_between_rounds_and_resumed_equals_an_uninterrupted_one(make_federation, uninterrupted):
    federation = make_federation(changes="federation.rounds=4")

    def stop(message, reply):
        if kind_of(message) == ("train", 2) and message.metadata.dst_node_id == 2:
            push = federation.grid.push_messages
            federation.grid.push_messages = lambda messages: cut(push, messages)
        return reply

    def cut(push, messages):
        if any(kind_of(message)[1] == 3 for message in messages):
            raise PowerCutError
        return push(messages)

    with pytest.raises(PowerCutError):
        federation.run(stop)
    assert federation.checkpoint()[1]["server_round"] == 2
    assert [store.rounds("private") for store in federation.stores().values()] == [[1, 2]] * 2
    federation.resume()
    assert_same_run(federation, uninterrupted)
    assert federation.folder.read_summary()["resumed_after"] == 2


def test_a_run_stopped_within_a_round_and_resumed_equals_an_uninterrupted_one(make_federation, uninterrupted):
    federation = make_federation(changes="federation.rounds=4")

    def stop(message, reply):
        if kind_of(message) == ("train", 3):
            raise PowerCutError
        return reply

    with pytest.raises(PowerCutError):
        federation.run(stop)
    assert federation.checkpoint()[1]["server_round"] == 2
    assert [store.rounds("private") for store in federation.stores().values()] == [[2, 3], [1, 2]]
    federation.resume()
    assert_same_run(federation, uninterrupted)


def test_a_run_stopped_before_the_final_model_was_delivered_can_be_resumed(make_federation, uninterrupted):
    federation = make_federation(changes="federation.rounds=4")

    def stop(message, reply):
        if message.metadata.message_type == "evaluate":
            raise PowerCutError
        return reply

    with pytest.raises(PowerCutError):
        federation.run(stop)
    federation.resume()
    assert_same_run(federation, uninterrupted)


def test_a_new_process_for_every_message_changes_nothing(make_federation, uninterrupted):
    """As in deployment, where whatever a client knows from round to round comes from its folder."""
    federation = make_federation(changes="federation.rounds=4")

    def restart(_, reply):
        client_app._make_client.cache_clear()
        return reply

    assert_same_run(federation.run(restart), uninterrupted)


def test_two_runs_with_one_seed_are_equal_and_with_another_differ(make_federation, uninterrupted):
    assert_same_run(make_federation("again", "federation.rounds=4").run(), uninterrupted)
    other = make_federation("other", "federation.rounds=4 seed=1").run()
    assert other.checkpoint()[0] != uninterrupted.checkpoint()[0]


def windows_of(arrays):
    """Every stretch of 64 bytes, value by value, of the classifiers among `arrays`."""
    data = [array.tobytes() for name, array in arrays.items() if "classifier" in name]
    return {piece[i : i + 64] for piece in data for i in range(0, len(piece) - 63, 4)}


def test_no_private_array_is_ever_in_a_message(make_federation):
    federation = make_federation()
    secrets, states = set(), {}

    def collect(message, reply):
        client = client_app._client_of(message, federation.grid.contexts[message.metadata.dst_node_id])
        before = states.setdefault(client.name, [client.initial])
        now = float_arrays(client.network)
        secrets.update(windows_of(now), windows_of(before[-1]))
        secrets.update(windows_of({name: now[name] - before[-1][name] for name in now if "classifier" in name}))
        before.append(now)
        return reply

    federation.run(collect)
    name = "vehicle.classifier.weight"
    for client, seen in states.items():
        assert len({state[name].tobytes() for state in seen}) >= 4, f"{client}'s classifier does not learn"
    secrets.discard(bytes(64))  # nothing moved between two messages
    everything = federation.grid.sent + [reply for reply in federation.grid.received if reply.has_content()]
    allowed = {(m.UPDATE, m.UPDATE), (m.AGGREGATE, m.AGGREGATE), (m.GLOBAL, m.GLOBAL)}
    travelled = set()
    for message in everything:
        for record, arrays in message.content.array_records.items():
            for key, array in arrays.items():
                assert (record, key) in allowed
                travelled.add(record)
                assert not any(secret in array.data for secret in secrets)
        for record in (*message.content.config_records.values(), *message.content.metric_records.values()):
            assert not any("classifier" in key for key in record)
    assert travelled == {m.UPDATE, m.AGGREGATE}
    # The search finds what it looks for: the classifier in the file that stays on the node.
    for store in federation.stores().values():
        kept = store._path("private", 3).read_bytes()
        assert any(secret in kept for secret in secrets)


def test_a_classifier_survives_the_end_of_its_process(make_federation):
    federation = make_federation(changes="federation.rounds=2").run()
    kept = federation.held("private", 2)
    client_app._make_client.cache_clear()
    for context in federation.grid.contexts.values():
        message = next(message for message in federation.grid.sent if kind_of(message) == ("train", 2))
        client = client_app._client_of(message, context)
        initial = client.initial["vehicle.classifier.weight"]
        np.testing.assert_array_equal(float_arrays(client.network)["vehicle.classifier.weight"], initial)
        vector = client.models.read(2).vector
        moments = client._load(vector, server_round=3)
        own = kept[client.name]
        now = float_arrays(client.network)["vehicle.classifier.weight"]
        np.testing.assert_array_equal(now, own["array/vehicle.classifier.weight"])
        assert np.abs(now - initial).max() > 1e-4
        assert_same_arrays(
            moments, {k.removeprefix("optimiser/"): v for k, v in own.items() if k.startswith("optimiser/")}
        )
        assert moments


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


def test_a_client_whose_pictures_are_gone_leaves_the_round_to_the_others(make_federation, pictures_root, tmp_path):
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
        assert f"not found: {own}" in line["left_out"][0]["reason"]
    assert {row["client"] for line in lines[2:] for row in line["left_out"]} == {"node 2"}


def fails_in_round_3(message, reply):
    if kind_of(message) == ("train", 3) and message.metadata.dst_node_id == 2:
        reply.content[m.UPDATE] = m.bytes_record(m.UPDATE, b"garbage")
    return reply


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


def test_a_checkpoint_of_another_network_is_refused(make_federation):
    federation = make_federation(changes="federation.rounds=1").run()
    with pytest.raises(ValueError, match=r"the checkpoint is of another network: layout '[0-9a-f]{16}'"):
        federation.run(more="federation.resume=true model.embedding_dim=8")


def test_it_stops_when_the_measure_gains_no_more(make_federation):
    changes = "federation.rounds=9 train.epochs=3 federation.patience=2 federation.min_delta=2"
    federation = make_federation(changes=changes).run()
    summary = federation.folder.read_summary()
    # Round 2 measures for the first time and is the best for good: no mAP gains 2. Rounds 3 and 4 gain nothing.
    assert (summary["rounds"], summary["converged"]) == (4, True)
    assert [line["server_round"] for line in federation.lines()] == [1, 2, 3, 4, 5]


def test_a_rule_that_has_not_been_reached_goes_on_after_a_resume(make_federation):
    changes = "federation.rounds=9 train.epochs=3 federation.patience=2 federation.min_delta=2"
    federation = make_federation(changes=changes)

    def stop(message, reply):
        if kind_of(message) == ("train", 4):
            raise PowerCutError
        return reply

    with pytest.raises(PowerCutError):
        federation.run(stop)
    federation.resume()
    assert federation.folder.read_summary()["rounds"] == 4


def aggregates(federation):
    """The mean update of each round, as decrypted from what the server sent out."""
    means = {}
    for message in federation.grid.sent:
        if m.AGGREGATE in message.content:
            payload = m.bytes_of(message.content, m.AGGREGATE)
            size = (len(payload) - 16) // 4
            config = message.content[m.CONFIG]
            means[kind_of(message)[1] - 1] = (
                PlainCipher(size).decrypt(payload, config[m.COEFFICIENT_SUM], Binding("", "", 1), state={}).mean
            )
    return [means[server_round] for server_round in sorted(means)]


def start_vector(federation):
    network = make_task(federation.settings).build(2, federation.settings.seed)
    return shared_layout(network, federation.settings.federation).flatten(float_arrays(network))


def statistics(federation):
    """Where BatchNorm's running statistics stand in the shared vector."""
    network = make_task(federation.settings).build(2, federation.settings.seed)
    learnt = {name for name, _ in network.named_parameters()}
    layout = shared_layout(network, federation.settings.federation)
    whole = layout.unflatten(np.zeros(layout.size, np.float32))
    return layout.flatten({name: array + (name not in learnt) for name, array in whole.items()}) == 1


def assert_reached(federation, stepped):
    """Learnt values took the server's step, statistics the plain mean."""
    averaged = start_vector(federation).astype(np.float64) + np.sum(aggregates(federation), axis=0, dtype=np.float64)
    expected = np.where(statistics(federation), averaged, stepped)
    for arrays in federation.held("global", 3).values():
        # Values below 8, rounded to float32 at each of three steps and their moments.
        np.testing.assert_allclose(arrays["vector"], expected, rtol=1e-6, atol=1e-6)


def test_server_momentum_is_sgd_on_every_client_alike(make_federation):
    changes = "federation.server_optimiser.name=momentum federation.server_optimiser.momentum=0.5"
    federation = make_federation(changes=changes).run()
    assert_digests_agree(federation)
    parameter = torch.nn.Parameter(torch.from_numpy(start_vector(federation)).double())
    engine = torch.optim.SGD([parameter], lr=1.0, momentum=0.5)
    for mean in aggregates(federation):
        parameter.grad = -torch.from_numpy(mean).double()
        engine.step()
    assert_reached(federation, parameter.detach().numpy())


def test_server_adam_is_the_papers_step_on_every_client_alike(make_federation):
    changes = "federation.server_optimiser.name=adam federation.server_optimiser.lr=0.001"
    federation = make_federation(changes=changes).run()
    assert_digests_agree(federation)
    vector = start_vector(federation).astype(np.float64)
    first, second, tau = np.zeros_like(vector), np.full_like(vector, 1e-6), 1e-3
    for mean in aggregates(federation):
        first = 0.9 * first + 0.1 * mean
        second = 0.99 * second + 0.01 * mean.astype(np.float64) ** 2
        vector = vector + 0.001 * first / (np.sqrt(second) + tau)
    assert_reached(federation, vector)


@pytest.mark.parametrize("optimiser", ["momentum", "adam federation.server_optimiser.lr=0.1"])
def test_a_server_step_takes_no_variance_below_zero(make_federation, optimiser):
    """A momentum of 0.9 goes on lowering the variances of an untrained network long after they have settled."""
    changes = f"federation.rounds=8 train.epochs=24 federation.server_optimiser.name={optimiser}"
    federation = make_federation(changes=changes).run()
    network = make_task(federation.settings).build(2, 0)
    arrays = shared_layout(network, federation.settings.federation).unflatten(
        federation.held("global", 8)["client-0"]["vector"]
    )
    assert min(array.min() for name, array in arrays.items() if "running_var" in name) > 0


def assert_digests_agree(federation):
    """Each client says in each round which global models it holds, moments included: all say the same."""
    said = {}
    for (_, client), reply in replies(federation, "train").items():
        info = reply.content[m.INFO]
        for version, digest in zip(info[m.HELD_ROUNDS], info[m.HELD_DIGESTS], strict=True):
            said.setdefault(version, {}).setdefault(client, set()).add(digest)
    assert sorted(said) == [0, 1, 2]
    for clients in said.values():
        assert len(clients) == 2
        assert len(set.union(*clients.values())) == 1
    last = [digest_of(arrays) for arrays in federation.held("global", 3).values()]
    assert len(set(last)) == 1
    assert len({next(iter(next(iter(clients.values())))) for clients in said.values()}) == 3


def test_cosine_distance_weighs_by_how_far_the_features_moved(make_federation):
    """Coefficient = share (1/2) x half the mean cosine distance; a second round, with small steps."""
    changes = "federation.rounds=2 federation.weighting=cosine_distance train.epochs=12 train.lr=1e-5"
    federation = make_federation(changes=changes).run()
    settings, task = federation.settings, make_task(federation.settings)
    parts = open_source(settings.data, settings.seed).parts(2)
    given = {
        name: reply.content[m.INFO][m.COEFFICIENT]
        for (server_round, name), reply in replies(federation, "train").items()
        if server_round == 2
    }
    start, expected = federation.held("global", 1)["client-0"]["vector"], {}
    for number, part in enumerate(parts):
        network = task.build(2, settings.seed)
        layout = shared_layout(network, settings.federation)
        local = federation.held("local", 2)[f"client-{number}"]["vector"]
        features = []
        for vector in (start, local):
            load_arrays(network, layout.unflatten(vector))
            with torch.no_grad():
                embedding = network.eval()(pixels(part, network).float()).vehicle.embedding
            features.append(F.normalize(embedding).numpy().astype(float))
        expected[f"client-{number}"] = 0.25 * float(np.mean(1 - (features[0] * features[1]).sum(axis=1)))
    assert all(0.00025 < coefficient < 0.25 for coefficient in expected.values())
    assert given == pytest.approx(expected, rel=1e-3)  # 1 - cosine is left with some 1e-7 of 1 in float32
    assert federation.checkpoint()[1]["coefficient_sum"] == pytest.approx(sum(given.values()), rel=1e-12)
    updates = [arrays["vector"].astype(float) - start for arrays in federation.held("local", 2).values()]
    mean = np.average(updates, axis=0, weights=[given["client-0"], given["client-1"]])
    for arrays in federation.held("global", 2).values():
        np.testing.assert_allclose(arrays["vector"], start + mean, rtol=1e-6, atol=1e-6)


def test_batch_norm_can_stay_at_home(make_federation):
    federation = make_federation(changes="federation.batch_norm=local").run()
    network = make_task(federation.settings).build(2, 0)
    norms = {name for name in float_arrays(network) if ".bn" in name or "batch_norm" in name}
    layout = shared_layout(network, federation.settings.federation)
    assert norms
    assert not norms & set(layout.names)
    held = federation.held("private")
    for arrays in held.values():
        assert norms <= {name.removeprefix("array/") for name in arrays}
    first, second = held.values()
    assert all((first[f"array/{name}"] != second[f"array/{name}"]).any() for name in norms if "running_mean" in name)
    vectors = [arrays["vector"] for arrays in federation.held("global", 3).values()]
    np.testing.assert_array_equal(*vectors)
    assert vectors[0].size == layout.size
    assert 0 <= federation.folder.read_summary()["measures"]["global_mAP"] <= 1


@pytest.mark.parametrize("changes", ["train.head_init=centres", "train.fedprox_mu=0.1", "train.keep_optimiser=false"])
def test_other_ways_to_train_run_through(make_federation, changes):
    federation = make_federation(changes=f"federation.rounds=2 {changes}").run()
    assert not federation.folder.read_summary()["left_out"]
    assert all(line["measures"]["loss_total"] > 0 for line in federation.lines()[:-1])


def test_without_a_validation_split_nothing_is_measured(make_federation):
    federation = make_federation(changes="data.val_split='' federation.rounds=2").run()
    assert all("global_mAP" not in line["measures"] for line in federation.lines())


def test_a_damaged_store_costs_its_own_node_only(make_federation):
    federation = make_federation(changes="federation.rounds=3")

    def damage(message, reply):
        if kind_of(message) == ("train", 2) and message.metadata.dst_node_id == 2:
            store = federation.stores()["client-1"]
            path = store._path("global", 1)
            data = bytearray(path.read_bytes())
            data[-5] ^= 64
            path.write_bytes(bytes(data))
        return reply

    federation.run(damage)
    left_out = federation.lines()[2]["left_out"]
    assert [row["client"] for row in left_out] == ["client-1"]
    assert "of another network or damaged" in left_out[0]["reason"]


def test_the_last_run_in_a_folder_is_the_one_that_is_measured(make_federation):
    federation = make_federation(changes="federation.rounds=1").run()
    older = {store.folder for store in federation.stores().values()}
    federation.run(more="seed=1")
    assert len(list((federation.folder.path / "nodes").glob("*/*"))) == 4
    layout = shared_layout(make_task(federation.settings).build(2, 0), federation.settings.federation)
    models = read_nodes(federation.settings, federation.folder)
    newer = [path for path in (federation.folder.path / "nodes").glob("*/*") if path not in older]
    expected = {path.parent.name: NodeStore(path).read("global", 1)[0]["vector"] for path in newer}
    for client, arrays in models["global"].items():
        np.testing.assert_array_equal(layout.flatten(arrays), expected[client])


def test_a_node_that_dropped_out_does_not_stand_for_the_global_model(make_federation):
    federation = make_federation(changes="federation.rounds=3")

    def leave(message, reply):
        if kind_of(message)[1] >= 2 and message.metadata.dst_node_id == 1:
            return None if message.metadata.message_type == "query" else fail_in_training(message)
        return reply

    def fail_in_training(message):
        store = federation.stores()["client-0"]
        for kind in ("global", "private", "local"):  # what it learnt since is not there: it was away
            store.drop_after(kind, 1)
        client_app._make_client.cache_clear()
        return Message(Error(8, "gone"), reply_to=message)

    federation.run(leave)
    models = read_nodes(federation.settings, federation.folder)
    assert list(models["global"]) == ["client-1"]
    assert sorted(models["local"]) == ["client-0", "client-1"]
