"""Whole encrypted federations in one process: close to plain, nothing readable on the way, and whole after a crash."""

import base64
import json
import shutil

import numpy as np
import pytest
from federation_checks import PowerCutError, assert_same_arrays, kind_of
from party_share_keys import write_share_keys
from scipy.optimize import brentq
from scipy.stats import norm

from app import client_app
from app.core.arrays import float_arrays, shared_layout, statistics_mask
from app.federation.build import key_path
from app.federation.share_key_files import SIMULATION, simulated_authority
from app.tasks import make_task
from strategies import messages as m
from strategies.ciphers.keys import read_key
from strategies.rounds import FederationError

KAHE = "privacy.cipher=kahe"


def vectors(federation, server_round=-1):
    return [arrays["vector"] for arrays in federation.held("global", server_round).values()]


@pytest.mark.parametrize(
    "privacy",
    [
        KAHE,
        f"{KAHE} privacy.max_clients=64",
        "privacy.cipher=ckks",
        "privacy.cipher=ckks privacy.key_holder=cloud",
        "privacy.cipher=ckks privacy.ckks_preset=tutorial",
    ],
)
def test_the_first_round_equals_the_plain_one_up_to_rounding(make_federation, privacy):
    """All clients hold the same model bit for bit, and it moved as the plain one did. One round, since training on a
    model that differs in the last digits drifts away from the plain run by itself. Running statistics move by more than
    their first scale allows, and what it cuts off is carried over, so learnt values are compared."""
    plain = make_federation("plain", changes="federation.rounds=1").run()
    encrypted = make_federation("encrypted", changes=f"federation.rounds=1 {privacy}").run()
    first, second = vectors(encrypted)
    np.testing.assert_array_equal(first, second)
    (start,) = {vector.tobytes() for vector in vectors(plain, 0)}
    moved = vectors(plain)[0] - np.frombuffer(start, np.float32)
    error = first - vectors(plain)[0]
    network = make_task(plain.settings).build(2, plain.settings.seed)
    learnt = ~statistics_mask(network, shared_layout(network, plain.settings.federation))
    # Scales of the first round are up to half a block's largest weight, so a step of 13 bits is some 1e-4 and an
    # update some 1e-3.
    assert np.linalg.norm(error[learnt]) < 0.1 * np.linalg.norm(moved[learnt])
    assert np.abs(moved[learnt]).max() > 1e-3


def windows_of(vector):
    """Every stretch of 64 bytes of a vector, value by value, but for those of one value throughout."""
    data = np.ascontiguousarray(vector, np.float32).tobytes()
    pieces = {data[i : i + 64] for i in range(0, len(data) - 63, 4)}
    return {piece for piece in pieces if len(set(piece)) > 8}


@pytest.mark.parametrize("privacy", [KAHE, "privacy.cipher=ckks"])
def test_no_update_no_private_array_and_no_key_is_ever_in_a_message(make_federation, privacy):
    federation = make_federation(changes=f"federation.rounds=2 {privacy}")
    readable, before = set(), {}

    def collect(message, reply):
        client = client_app._client_of(message, federation.grid.contexts[message.metadata.dst_node_id])
        now = float_arrays(client.network)
        earlier = before.get(client.name, client.initial_arrays())
        for name in now:
            readable.update(windows_of(now[name]), windows_of(now[name] - earlier[name]))
        for kind in ("global", "local", "carried"):
            for server_round in client.store.rounds(kind):
                for array in client.store.read(kind, server_round)[0].values():
                    readable.update(windows_of(array))
        before[client.name] = now
        return reply

    federation.run(collect)
    key = read_key(key_path(federation.folder.path))
    secrets = [secret[i : i + 32] for secret in key.secrets.values() for i in range(64, len(secret) - 31, 97)]
    for short in (key.secrets["seal"], key.secrets["kahe"]):
        secrets += [short, base64.b64encode(short), short.hex().encode()]
    everything = federation.grid.sent + [reply for reply in federation.grid.received if reply.has_content()]
    travelled = set()
    for message in everything:
        for record, arrays in message.content.array_records.items():
            travelled.add(record)
            for array in arrays.values():
                data = array.data
                assert not any(data[i : i + 64] in readable for i in range(0, len(data) - 63))
                assert not any(secret in data for secret in secrets)
        for record in (*message.content.config_records.values(), *message.content.metric_records.values()):
            text = json.dumps(dict(record), default=repr).encode()
            assert not any(secret in text for secret in secrets)
    assert travelled == {m.UPDATE, m.AGGREGATE} | ({m.SHARES, m.SHARE_SUM} if "kahe" in privacy else set())
    assert len(readable) > 10_000
    checkpoint, _ = federation.folder.load_arrays("server")
    stored = checkpoint["aggregate"].tobytes()
    assert not any(stored[i : i + 64] in readable for i in range(0, len(stored) - 63))
    # The search finds what it looks for: in the file that stays on the node.
    for store in federation.stores().values():
        kept = store._path("local", 2).read_bytes()
        assert any(kept[i : i + 64] in readable for i in range(0, len(kept) - 63))


def test_a_stopped_encrypted_run_equals_an_uninterrupted_one_bit_for_bit(make_federation):
    """Rounding is seeded by round and client, sums are exact: only the ciphertexts differ."""
    changes = f"federation.rounds=4 {KAHE}"
    whole = make_federation("whole", changes=changes).run()

    def stop(message, reply):
        if kind_of(message) == ("train", 3) and message.metadata.dst_node_id == 2:
            raise PowerCutError
        return reply

    stopped = make_federation("stopped", changes=changes)
    with pytest.raises(PowerCutError):
        stopped.run(stop)
    stopped.resume()
    for ours, theirs in zip(stopped.held("global").values(), whole.held("global").values(), strict=True):
        assert_same_arrays(ours, theirs)


def test_a_node_that_lost_its_state_gets_the_model_sealed(make_federation):
    federation = make_federation(changes=f"federation.rounds=5 {KAHE}")

    def lose(message, reply):  # after its last part in round 2
        asked = message.content[m.CONFIG].get(m.ACTION) == m.ACTION_SUM_SHARES
        if asked and kind_of(message)[1] == 2 and message.metadata.dst_node_id == 1:
            shutil.rmtree(federation.folder.path / "nodes" / "client-0")
            client_app._make_client.cache_clear()
        return reply

    federation.run(lose)
    (relayed,) = [message for message in federation.grid.sent if m.GLOBAL in message.content]
    sealed = m.bytes_of(relayed.content, m.GLOBAL)
    first, second = federation.held("global", 5).values()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert b"vector" not in sealed  # the name of an array in an unsealed file
    store = federation.stores()["client-1"]
    layout = store.metadata("global", 5)["layout"]
    purpose = f"global model {kind_of(relayed)[1] - 1} of run {store.folder.name}, layout {layout}"
    assert b"vector" in read_key(key_path(federation.folder.path)).open(sealed, purpose)


def test_another_key_and_a_replayed_payload_cost_their_own_reply(make_federation, tmp_path):
    federation = make_federation(changes=f"federation.rounds=3 {KAHE}")
    earlier = {}

    def replay(message, reply):
        kind, server_round = kind_of(message)
        if kind == "train" and message.metadata.dst_node_id == 2:
            earlier[server_round] = m.bytes_of(reply.content, m.UPDATE)
            if server_round == 2 and message.content[m.CONFIG][m.ATTEMPT] == 1:
                reply.content[m.UPDATE] = m.bytes_record(m.UPDATE, earlier[1])
        return reply

    federation.run(replay)
    assert [line["attempts"] for line in federation.lines()[:3]] == [1, 2, 1]  # one update alone is no sum
    (row,) = federation.lines()[1]["left_out"]
    assert row["client"] == "client-1"
    assert "round of the payload is 1 instead of 2" in row["reason"]

    from scripts.federation import main

    main(["keys", "--out", str(tmp_path / "keys")])
    nodes = [{"partition-id": i, "num-partitions": 2} for i in range(2)]
    nodes[1]["key-file"] = str(tmp_path / "keys" / "federation.key")
    other = make_federation("other", changes=f"federation.rounds=1 {KAHE}", node_configs=nodes)
    key_id = read_key(tmp_path / "keys" / "federation.key").key_id
    nodes[1] |= write_share_keys(tmp_path, SIMULATION, "client-1", key_id, simulated_authority(other.folder.path))
    with pytest.raises(FederationError, match="below the quorum") as caught:
        other.resume()  # it has keys already
    assert "key-id" in str(caught.value)


def test_differential_privacy_stands_in_the_summary_and_bounds_the_update(make_federation):
    changes = "federation.rounds=2 privacy.dp.clip=0.5 privacy.dp.noise_multiplier=0 federation.batch_norm=local"
    federation = make_federation(changes=changes).run()
    assert federation.folder.read_summary()["epsilon"] is None  # infinite, which JSON lacks
    step = vectors(federation, 2)[0] - vectors(federation, 1)[0]
    assert 0 < np.linalg.norm(step) <= 0.5 * (1 + 1e-5)  # a mean of vectors that are no longer
    noisy = make_federation("noisy", changes=changes.replace("multiplier=0", "multiplier=8")).run()
    # Two releases of sensitivity 2 C under noise of 8 C are mu-GDP with mu = sqrt(2) / 4, whose exact epsilon follows
    # from Dong et al., 2022, Cor. 2.13; Renyi accounting gives an upper bound that is a little larger.
    mu = np.sqrt(2) / 4

    def delta(epsilon):
        return norm.cdf(-epsilon / mu + mu / 2) - np.exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2)

    exact = brentq(lambda epsilon: delta(epsilon) - 1e-5, 0.01, 20)
    assert exact <= noisy.folder.read_summary()["epsilon"] <= 1.3 * exact
