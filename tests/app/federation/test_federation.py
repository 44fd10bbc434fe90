"""Whole federations in one process: the mathematics, what stays at home, and how rounds end."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from federation_checks import PowerCutError, assert_same_arrays, assert_same_run, kind_of, power_cut_at, replies
from PIL import Image
from torch.func import functional_call

from app import client_app
from app.core.arrays import float_arrays, load_arrays, shared_layout
from app.data.dataset import open_source
from app.data.readers.manifest import Manifest
from app.tasks import make_task
from strategies import messages as m
from strategies.partial_sync import PartialSync

PLAIN_SGD = (
    "train=sgd train.lr=1 train.momentum=0 train.weight_decay=0 train.warm_up=0 train.clip_norm=0 train.epochs=1 "
    "federation.rounds=1 federation.measure_every=0 train.pids_per_batch=8 train.images_per_pid=4 "
    "train.augment.flip=0 train.augment.shift=0 train.augment.rotate=0 train.augment.zoom=0 train.augment.colour=0 "
    "train.augment.blur=0 train.augment.erase=0 loss.metric=none loss.label_smoothing=0 train.channels_last=false"
)


def pixels(samples, network):
    """Images (N, 3, 32, 32) in float64 as the backbone expects them, without the project's own reader."""
    config = network.vehicle.backbone.pretrained_cfg
    mean, std = (np.array(config[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    rows = [np.asarray(Image.open(sample.path)).transpose(2, 0, 1) / 255 for sample in samples]
    return torch.from_numpy(np.stack([(row - mean) / std for row in rows]))


@pytest.mark.parametrize("batch_norm", ["shared", "local"])
def test_one_full_batch_step_per_client_equals_one_central_step(make_federation, batch_norm):
    """The central step descends sum_k (n_k / n) L_k in one backward pass through one shared network, where L_k is the
    cross-entropy of client k's images under its own classifier and with its own batch statistics."""
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
        before = states.setdefault(client.name, [client.initial_arrays()])
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


def of_bits(bits):
    """Values of bfloat16, whose bits are the upper half of float32's."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_a_classifier_survives_the_end_of_its_process(make_federation):
    federation = make_federation(changes="federation.rounds=3")
    with pytest.raises(PowerCutError):
        federation.run(power_cut_at("train", 3))
    kept = federation.held("private", 2)
    client_app._make_client.cache_clear()
    for context in federation.grid.contexts.values():
        message = next(message for message in federation.grid.sent if kind_of(message) == ("train", 2))
        client = client_app._client_of(message, context)
        initial = client.initial_arrays()["vehicle.classifier.weight"]
        np.testing.assert_array_equal(float_arrays(client.network)["vehicle.classifier.weight"], initial)
        vector = client.models.read(client.store.rounds("global")[-1]).vector
        moments = client._load(vector, server_round=3)
        own = kept[client.name]
        now = float_arrays(client.network)["vehicle.classifier.weight"]
        np.testing.assert_array_equal(now, own["array/vehicle.classifier.weight"])
        assert np.abs(now - initial).max() > 1e-4
        written = {k.removeprefix("optimiser/"): v for k, v in own.items() if k.startswith("optimiser/")}
        halved = {k.removeprefix("halved/"): of_bits(v) for k, v in own.items() if k.startswith("halved/")}
        assert_same_arrays(moments, written | halved)
        assert moments


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


def test_cosine_distance_weighs_by_how_far_the_features_moved(make_federation):
    """Coefficient = share (1/2) x half the mean cosine distance; a second round, with small steps."""
    changes = "federation.rounds=2 federation.weighting=cosine_distance train.epochs=12 train.lr=1e-5"
    federation = make_federation(changes=changes).run()
    settings, task = federation.settings, make_task(federation.settings)
    parts = open_source(settings.data, settings.seed).parts(2)
    given = {
        name: 0.5 * reply.content[m.MEASURES][m.FEATURE_SHIFT]
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


def test_a_strategy_of_ones_own_runs_with_real_clients(make_federation):
    """The smaller client trains alone; the other takes its model over."""

    class Smallest(PartialSync):
        def select_cohort(self, server_round, nodes):  # noqa: ARG002
            return [min(nodes, key=lambda node: node.num_examples)]

    federation = make_federation(changes="federation.rounds=2 federation.fraction=0.5").run(strategy=Smallest)
    assert [list(line["clients"]) for line in federation.lines()] == [["client-1"]] * 2 + [["client-0", "client-1"]]
    models = federation.held("global", 2)
    np.testing.assert_array_equal(models["client-0"]["vector"], models["client-1"]["vector"])


@pytest.mark.parametrize("more", ["", "data.val_split= personalise=on personalise.holdout=0.4 personalise.least=1"])
def test_the_clients_of_a_simulation_divide_one_list_of_images(make_federation, monkeypatch, more):
    """Read once a process, not once a client and message; each client still has its own site's."""
    read = []
    own = Manifest._read
    monkeypatch.setattr(Manifest, "_read", lambda reader: read.append(reader) or own(reader))
    federation = make_federation(changes=f"federation.rounds=2 {more}").run()
    assert len(read) == 2  # for training, and to measure or to choose by
    settings = federation.settings
    sites = open_source(settings.data, settings.seed).parts(2)
    sent = replies(federation, "train")
    used = [sent[1, f"client-{index}"].content[m.INFO][m.NUM_EXAMPLES] for index in range(2)]
    assert used[0] > used[1]
    assert more or used == [len(site) for site in sites]
