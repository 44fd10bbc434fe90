"""Steps from an aggregate to the next global model: variances, for every cipher and every server optimiser."""

import contextlib

import numpy as np
import pytest
from kahe_rounds import Round

from app.core.arrays import float_arrays, shared_layout, statistics_mask, variances_mask
from app.core.global_state import GlobalModel
from app.core.node_store import NodeStore, NodeStoreError
from app.core.shared_files import SharedFiles
from app.federation.global_model import GlobalModelError, GlobalModels, PassedOn, UnusableAggregateError
from app.settings.federation import FederationSettings
from app.settings.load import load_settings
from app.tasks import make_task
from strategies.ciphers import ckks
from strategies.ciphers.binding import Binding
from strategies.ciphers.keys import new_key
from strategies.ciphers.plain import PlainCipher, PlainSum
from strategies.server_optimiser import Adam, Average, Momentum
from strategies.shared_arrays import SharedLayout

LAYOUT = SharedLayout(("bn.running_mean", "bn.running_var", "w"), ((3,), (3,), (2,)))
MEANS, VARIANCES = np.arange(8) < 3, (np.arange(8) >= 3) & (np.arange(8) < 6)
START = np.array([1, 2, 3, 0, 0.5, 4, 7, 8], np.float32)
RUN = "0" * 16
OPTIMISERS = {"average": Average(1.0), "half": Average(0.5), "momentum": Momentum(1.0, 0.9, True), "adam": Adam(0.1)}


def models(tmp_path, cipher=None, optimiser="average", name="a"):
    return GlobalModels(
        name,
        NodeStore(tmp_path / name),
        layout=LAYOUT,
        statistics=MEANS | VARIANCES,
        variances=VARIANCES,
        initial=START.copy,
        server_optimiser=OPTIMISERS[optimiser],
        cipher=cipher or PlainCipher(8),
        run_key=RUN,
        sums=None,
    )


def plain_sum(*updates):
    total = PlainSum(8)
    for update in updates:
        binding = Binding(RUN, LAYOUT.digest, 1)
        payload = PlainCipher(8).encrypt(np.array(update, np.float32), 1 / len(updates), binding, state={}, carried={})
        total.add(payload.payload, "a")
    return total.payload()


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_variance_below_zero_becomes_zero_and_nothing_else_changes(tmp_path, optimiser):
    """Means may be negative, and learnt values too; statistics take the mean whatever the optimiser is."""
    update = np.array([-5, 0, 0, -0.01, -0.6, 1, -9, -9], np.float32)
    held = models(tmp_path, optimiser=optimiser)
    held.held()
    vector = held.reach(1, plain_sum(update), 1.0).vector
    np.testing.assert_allclose(vector[:6], [-4, 2, 3, 0, 0, 5], atol=1e-6)
    assert (vector[6:] < START[6:]).all()
    np.testing.assert_array_equal(held.read(1).vector, vector)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("lowest", [-4.1, -1000, -1e6])
def test_a_variance_far_below_zero_is_a_broken_sum(tmp_path, optimiser, lowest):
    """The largest variance before was 4: no client can have asked for less than -4."""
    held = models(tmp_path, optimiser=optimiser)
    held.held()
    with pytest.raises(UnusableAggregateError):
        held.reach(1, plain_sum([0, 0, 0, lowest, 0, 0, 0, 0]), 1.0)
    assert list(held.held()) == [0]
    np.testing.assert_array_equal(held.read(0).vector, START)


def test_a_model_passed_on_with_a_variance_below_zero_is_refused(tmp_path):
    giver, taker = models(tmp_path, name="a"), models(tmp_path, name="b")
    giver.held()
    broken = START.copy()
    broken[3] = -1e-3
    digest = giver._write(1, GlobalModel(broken, giver.read(0).moments, giver.read(0).state))
    passed_on = PassedOn(giver.sealed(1, digest), 1, digest)
    with pytest.raises(GlobalModelError, match="a running variance below 0"):
        taker.reach(1, passed_on=passed_on)


def encrypted(scheme, vector, statistics, layout):
    """The sum of what four clients send who learnt nothing, and the cipher that opens it."""
    if scheme == "kahe":
        attempt = Round(4, layout.size, 4, 12, server_round=1, layout=layout.digest, statistics=statistics)
        attempt.state = attempt[0].initial_state(vector)
        total = attempt.total()
        for index, name in enumerate(attempt.names):
            total.add(attempt.payload(index, np.zeros_like(vector)), name)
        return attempt[0], attempt.ask(total).payload()
    names = tuple("abcd")
    key = new_key({"ckks": ckks.new_secret})
    binding = Binding(RUN, layout.digest, 1, 1, names, "nonce")
    ciphers = [ckks.CkksCipher(key, statistics, client=name, max_clients=4) for name in names]
    total = ckks.CkksSum(ciphers[0].parameters, binding, key.key_id, ckks.public_context("compact"))
    for name, cipher in zip(names, ciphers, strict=True):
        state = cipher.initial_state(vector)
        total.add(cipher.encrypt(np.zeros_like(vector), 0.25, binding, state=state, carried={}).payload, name)
    return ciphers[0], total.payload()


@pytest.mark.parametrize("scheme", ["ckks", "kahe"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_channels_that_never_fire_survive_a_cipher(tmp_path, scheme, optimiser):
    """A pretrained network has running variances of 0 beside some of 500: the error of an approximate sum follows the
    largest of a block, and takes a half of the zeros below 0, where a network gives NaN."""
    names = tuple(f"bn{i}.running_{kind}" for i in range(20) for kind in ("mean", "var"))
    layout = SharedLayout(names, ((32,),) * len(names))
    variances = layout.marked(name for name in names if name.endswith("var"))
    vector = np.where(np.arange(layout.size) % 2, np.float32(500.0), np.float32(0.0))
    everything = np.ones(layout.size, bool)
    cipher, payload = encrypted(scheme, vector, everything, layout)
    held = GlobalModels(
        "a",
        NodeStore(tmp_path),
        layout=layout,
        statistics=everything,
        variances=variances,
        initial=lambda: vector,
        server_optimiser=OPTIMISERS[optimiser],
        cipher=cipher,
        run_key=RUN,
        sums=None,
    )
    held.held()
    reached = held.reach(1, payload, 1.0).vector
    assert reached[variances].min() >= 0
    np.testing.assert_allclose(reached, vector, atol=0.05)
    if scheme == "ckks":
        assert (reached[~variances] < 0).any(), "the error is there, and means keep it"


@pytest.mark.parametrize("changes", ["", "experiment=roadscene data.root=none", "experiment=plates_made"])
def test_variances_are_found_by_their_layers(changes):
    """Against the names of the arrays, for the network of each task."""
    settings = load_settings(changes or "experiment=quickstart")
    network = make_task(settings).build(2, 0, pretrained=False)
    layout = shared_layout(network, FederationSettings())
    by_name = layout.marked(name for name in layout.names if name.endswith(".running_var"))
    found = variances_mask(network, layout)
    assert found.any()
    np.testing.assert_array_equal(found, by_name)
    assert statistics_mask(network, layout)[found].all()
    assert set(float_arrays(network)) >= set(layout.names)


@pytest.mark.parametrize("where", [-4, 20], ids=["values", "header"])
def test_a_damaged_file_of_all_simulated_nodes_is_written_anew(tmp_path, where):
    """Its nodes hold one file; each finds the damage on its own, and gets a whole one."""
    nodes = [models(tmp_path, name=name) for name in "ab"]
    for each in nodes:
        each.store = NodeStore(tmp_path / each.client, SharedFiles(tmp_path / ".shared"))
        each.held()
    [file, other] = tmp_path.glob("?/global-*")
    assert file.samefile(other)
    data = bytearray(file.read_bytes())
    data[where] ^= 0xFF
    file.write_bytes(data)  # in place: the file of both
    for each in nodes:
        with contextlib.suppress(NodeStoreError):
            each.read(0)
        each.held()
        np.testing.assert_array_equal(each.read(0).vector, START)
    assert file.samefile(other)
