"""Real clients with a real key behind Flower messages, and a server that lies, or whose clock is wrong."""

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from encrypted_payloads import with_body
from federation_checks import PowerCutError, assert_same_run, kind_of
from flwr.app import ArrayRecord, Message, RecordDict
from forged_sums import nudged

from app import client_app, server_app
from app.federation.build import key_path
from app.federation.global_model import SUM_ALTERED, UNUSABLE, GlobalModelError, GlobalModels, PassedOn
from app.federation.round_request import ClientError, order_of
from strategies import messages as m
from strategies.ciphers.binding import open_envelope
from strategies.ciphers.ckks import CkksCipher
from strategies.ciphers.kahe.client_half import KaheCipher
from strategies.ciphers.keys import read_key

pytestmark = pytest.mark.slow

KAHE = "privacy.cipher=kahe"
THREE = "data.partition.by=identity federation.num_clients=3"
THREE_NODES = [{"partition-id": i, "num-partitions": 3} for i in range(3)]


@pytest.fixture
def opened(monkeypatch):
    """Rounds of the sums that were decrypted."""
    found = []

    def noting(decrypt):
        def note(cipher, payload, coefficient_sum, binding, *, state):
            found.append(binding.server_round)
            return decrypt(cipher, payload, coefficient_sum, binding, state=state)

        return note

    for kind in (KaheCipher, CkksCipher):
        monkeypatch.setattr(kind, "decrypt", noting(kind.decrypt))
    return found


@pytest.fixture(params=["kahe", "ckks"])
def lied_to(make_federation, request):
    """A federation of two after two rounds."""
    return make_federation(changes=f"federation.rounds=2 privacy.cipher={request.param}").run()


def asked(federation, kind, arrays=None, **config):
    """The answer of the first node, in a process of its own, to a message of the server's making."""
    client_app._make_client.cache_clear()
    content = m.with_config({m.RUN_KEY: federation.folder.load_arrays("server")[1]["run_key"], **config})
    for name, data in (arrays or {}).items():
        content[name] = m.bytes_record(name, data)
    message = Message(content, 1, kind)
    message.metadata.__dict__["_message_id"] = "message-0"
    return client_app.app(message, federation.grid.contexts[1])


def last_sum(federation):
    return federation.folder.load_arrays("server")[0]["aggregate"].tobytes()


def shifted(payload, number):
    """The sum with random coefficients in place of its first ones, or under `ckks` with a term added: another question
    each time."""
    if open_envelope(payload, {})[0]["scheme"] == "ckks":
        return nudged(payload, number)
    return with_body(payload, lambda body: np.random.default_rng(number).bytes(5000) + body[5000:])


def lose(federation, version):
    """The first node holds models up to before `version` again."""
    federation.stores()["client-0"].drop_after("global", version - 1)


def described(reply):
    """What a node says of itself, but for the dates of a statement that each process of a simulation signs anew."""
    found = dict(reply.content[m.INFO])
    statement = found.pop(m.SHARE_KEY, None)
    return found | ({m.SHARE_KEY: json.loads(statement)["body"]["share_key"]} if statement else {})


def test_whatever_a_message_asks_for_a_forged_sum_has_one_answer(lied_to, opened):
    """Twenty forged sums of the version that comes next, in messages that train and that measure."""
    lose(lied_to, 2)
    payload, answers = last_sum(lied_to), []
    by_tag = SUM_ALTERED if lied_to.settings.privacy.cipher == "kahe" else UNUSABLE
    for number in range(20):
        kind = "train" if number % 2 else "evaluate"
        order = {m.ORDER: [2**40, number], m.SERVER_ROUND: 3, m.COEFFICIENT: 0.5, m.COEFFICIENT_SUM: 1.0}
        more = {m.ATTEMPT: number, m.NONCE: str(number), m.COHORT: ["client-0", "client-1"]}
        # The sum of version 2 was used, so that not one of these is opened; of a node that lost its record three are.
        if number == 10:
            (lied_to.folder.path / "nodes" / "client-0" / "opened_sums.json").unlink()
        reply = asked(lied_to, kind, {m.AGGREGATE: shifted(payload, number)}, **order, **more)
        assert not reply.has_error()
        answers.append({name: dict(record) for name, record in reply.content.items()})
        assert len(opened) == max(0, min(number - 9, 3))
    expected = [UNUSABLE] * 10 + [by_tag] * 3 + [UNUSABLE] * 7
    assert answers == [{m.INFO: {m.UNUSABLE_SUM: reason}} for reason in expected]


@pytest.mark.parametrize("action", [m.ACTION_DESCRIBE, m.ACTION_SEND_GLOBAL])
def test_a_query_opens_nothing(lied_to, opened, action):
    """Neither a forged sum nor an honest one: each is as if it had not been there."""
    lose(lied_to, 2)
    honest, seen = last_sum(lied_to), []
    for arrays in ({}, {m.AGGREGATE: honest}, {m.AGGREGATE: shifted(honest, 0)}):
        for version in (1, 2):
            digest = lied_to.stores()["client-1"].metadata("global", version)["digest"]
            config = {m.ACTION: action, m.SERVER_ROUND: version + 1, m.COEFFICIENT_SUM: 1.0}
            config |= {m.GLOBAL_VERSION: version, m.GLOBAL_DIGEST: digest}
            try:
                reply = asked(lied_to, "query", arrays, **config)
                seen.append("model" if m.GLOBAL in reply.content else described(reply))
            except Exception as error:
                seen.append(str(error))
    assert seen[:2] == seen[2:4] == seen[4:]
    if action == m.ACTION_SEND_GLOBAL:
        assert seen[0] == "model"
        assert "client-0 cannot send global model 2" in seen[1]
    assert opened == []
    assert lied_to.stores()["client-0"].rounds("global") == [1]


def test_a_sum_that_does_not_open_costs_one_repeated_round(make_federation):
    """An honest server forwards a sum spoiled by one client: the round is run again, and each node has counted one."""
    spoiled = []

    def spoil(message, reply):
        if kind_of(message) == ("train", 2) and message.metadata.dst_node_id == 2 and not spoiled:
            spoiled.append(message)
            payload = shifted(m.bytes_of(reply.content, m.UPDATE), 0)
            reply.content[m.UPDATE] = m.bytes_record(m.UPDATE, payload)
        return reply

    federation = make_federation(changes=f"federation.rounds=3 {KAHE}").run(spoil)
    assert federation.folder.read_summary()["rounds"] == 3
    [row] = federation.lines()[1]["left_out"]
    assert row["reason"] == f"no client can use the sum of round 2: client-0: {SUM_ALTERED}; client-1: {SUM_ALTERED}"
    key_id = read_key(key_path(federation.folder.path)).key_id
    for store in federation.stores().values():
        record = json.loads((store.folder.parent / "opened_sums.json").read_text(encoding="utf-8"))
        outcomes = {version: sorted(sums.values()) for version, sums in record[key_id][store.folder.name].items()}
        assert outcomes == {"1": ["used"], "2": ["unusable", "used"], "3": ["used"]}


def test_a_server_whose_clock_went_back_goes_on(make_federation, uninterrupted, monkeypatch):
    """Cut off in round 3 and resumed with a clock a year behind, twice: no node is left out."""
    federation = make_federation(changes="federation.rounds=4")

    def cut_off(message, reply):
        if kind_of(message) == ("train", 3) and message.metadata.dst_node_id == 2:
            raise PowerCutError
        return reply

    with pytest.raises(PowerCutError):
        federation.run(cut_off)
    now = time.time()
    monkeypatch.setattr(server_app.time, "time", lambda: now - 365 * 86400)
    generations = [int(federation.folder.load_arrays("server")[1]["generation"])]
    with pytest.raises(PowerCutError):
        federation.resume(cut_off)  # before a round has ended: it must not be taken for the next start
    generations.append(int(federation.folder.load_arrays("server")[1]["generation"]))
    federation.resume()
    generations.append(int(federation.folder.load_arrays("server")[1]["generation"]))
    assert generations == [generations[0], generations[0] + 1, generations[0] + 2]
    assert federation.folder.read_summary()["left_out"] == []
    assert_same_run(federation, uninterrupted)


def test_what_an_earlier_start_of_the_server_asked_for_is_refused(make_federation):
    """A message that was on its way when the server was started again."""
    federation = make_federation(changes="federation.rounds=1").run()
    late = next(message for message in federation.grid.sent if kind_of(message) == ("train", 1))
    assert late.content[m.CONFIG][m.ORDER][1] == 1
    with pytest.raises(Exception, match="is later than"):
        client_app.app(late, federation.grid.contexts[1])


@pytest.mark.parametrize("order", [None, 12.5, [1], [1.5, 2.5], ["1", "2"]])
def test_a_message_without_an_order_is_refused(order):
    with pytest.raises(ClientError, match="order of a message is"):
        order_of({m.ORDER: order})


@pytest.mark.parametrize("privacy", ["privacy=plain", KAHE])
def test_a_late_joiner_takes_no_other_model_than_most_hold(make_federation, monkeypatch, privacy):
    """The first node sends a model of its own, sealed with the key that it has. Who lost its models refuses
    it, and gets the right one from the next node in the round after."""
    seal, asked_for = GlobalModels.sealed, []

    def forge(models, version, digest):
        asked_for.append((models.client, version))
        if models.client != "client-0":
            return seal(models, version, digest)
        from safetensors.numpy import save

        arrays = models.read(version).arrays() | {"vector": models.read(version).vector * np.float32(1.5)}
        return models.cipher.seal(save(arrays), models._purpose(version))

    monkeypatch.setattr(GlobalModels, "sealed", forge)
    changes = f"{THREE} {privacy} federation.rounds=5 federation.quorum=0.6"
    federation = make_federation(changes=changes, node_configs=THREE_NODES)

    def lose_everything(message, reply):
        if kind_of(message) == ("train", 2) and message.metadata.dst_node_id == 3:
            shutil.rmtree(federation.folder.path / "nodes" / "client-2")
            client_app._make_client.cache_clear()
        return reply

    federation.run(lose_everything)
    reasons = [
        [row["reason"] for row in line["left_out"] if row["client"] == "client-2"] for line in federation.lines()
    ]
    refused = [number for number, row in enumerate(reasons, 1) if any("most nodes hold" in reason for reason in row)]
    assert len(refused) == 1
    assert [client for client, _ in asked_for] == ["client-0", "client-1"]
    assert reasons[refused[0] :] == [[]] * (len(reasons) - refused[0])
    held = federation.held("global", 5)
    assert len({arrays["vector"].tobytes() for arrays in held.values()}) == 1


def test_a_client_refuses_a_model_that_the_server_does_not_name_rightly(lied_to):
    """The digest in the message is part of it: a model of another version, or without a digest, is refused."""
    client = client_app._client_of(lied_to.grid.sent[0], lied_to.grid.contexts[2])
    digest = client.models.held()[1]
    sealed = client.models.sealed(1, digest)
    named = {m.GLOBAL_VERSION: 1, m.GLOBAL_DIGEST: digest}
    for order, wrong in enumerate(({m.GLOBAL_DIGEST: ""}, {m.GLOBAL_DIGEST: "0" * 16}, {m.GLOBAL_VERSION: 2})):
        config = {m.SERVER_ROUND: 2, m.ORDER: [2**40, order], **named, **wrong}
        with pytest.raises(Exception, match=r"most nodes hold|sealed under another key or for another purpose"):
            asked(lied_to, "evaluate", {m.GLOBAL: sealed}, **config)
    reply = asked(lied_to, "evaluate", {m.GLOBAL: sealed}, **{m.SERVER_ROUND: 2, m.ORDER: [2**40, 9], **named})
    assert m.UNUSABLE_SUM not in reply.content[m.INFO]
    assert lied_to.stores()["client-0"].metadata("global", 1)["digest"] == digest


@pytest.mark.parametrize("named", [1, 2])
def test_a_whole_model_is_never_replaced_by_one_passed_on(lied_to, named):
    """Two sites with the key, of which one seals a model of its own, and a server that calls it what most hold. Only
    who lost the version takes it."""
    taker, store = client_app._client_of(lied_to.grid.sent[0], lied_to.grid.contexts[1]), lied_to.stores()["client-0"]
    giver = client_app._client_of(lied_to.grid.sent[0], lied_to.grid.contexts[2])
    own = {version: store.metadata("global", version)["digest"] for version in (1, 2)}
    for version in (1, 2):
        giver.models._write(version, replace(giver.models.read(1), vector=giver.models.read(1).vector * 2))
    digest = giver.models.held()[named]
    passed_on = PassedOn(giver.models.sealed(named, digest), named, digest)
    for version in (1, 2):
        with pytest.raises(GlobalModelError, match=f"keeps its own global model .* most nodes hold '{digest}'"):
            taker.models.reach(version, passed_on=passed_on)
    assert {version: store.metadata("global", version)["digest"] for version in (1, 2)} == own
    store.drop_after("global", 0)
    assert np.array_equal(taker.models.reach(named, passed_on=passed_on).vector, giver.models.read(named).vector)


def test_no_other_array_travels_beside_a_model_and_a_sum():
    content = RecordDict({m.GLOBAL: m.bytes_record(m.GLOBAL, b"g"), m.AGGREGATE: m.bytes_record(m.AGGREGATE, b"a")})
    assert m.bytes_of(content, m.GLOBAL, beside=[m.AGGREGATE]) == b"g"
    for wrong in (content, RecordDict({**content, "more": ArrayRecord([np.zeros(2)])})):
        with pytest.raises(m.MessageError, match="arrays that must not travel"):
            m.bytes_of(wrong, m.AGGREGATE, beside=[] if wrong is content else [m.GLOBAL])
