"""Whole federations under `privacy.cipher=kahe`: real clients, the real server, and what either may lose or forge."""

import itertools
import json

import numpy as np
import pytest
from encrypted_payloads import relabelled
from federation_checks import PowerCutError, kind_of
from flwr.app import Error, Message

from app import client_app
from app.federation.global_model import SUM_ALTERED, UNUSABLE
from strategies import messages as m
from strategies.ciphers.kahe import client_half
from strategies.ciphers.kahe.ring import RING_54
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.rounds import FederationError

KAHE = "privacy.cipher=kahe"
QUICK = "federation.quorum=0.6 federation.measure_every=0 train.epochs=1"
THREE = f"{KAHE} data.partition.by=identity federation.num_clients=3 {QUICK}"
_REFUSALS = r"another question|gone on|dealt no shares|not among|needed|3 statements of share keys for a cohort of 2"
THREE_NODES = [{"partition-id": i, "num-partitions": 3} for i in range(3)]


@pytest.fixture
def three(make_federation):
    """Makes federations of three, of which two are needed to open a sum."""

    def make(rounds=2):
        return make_federation(changes=f"{THREE} federation.rounds={rounds}", node_configs=THREE_NODES)

    return make


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, base_overrides):
    """The global model after two rounds of three that nothing disturbed."""
    from conftest import LocalFederation

    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    overrides = f"{base_overrides} {THREE} federation.rounds=2"
    return vector_of(LocalFederation(folder, overrides, THREE_NODES).run())


def vector_of(federation):
    """The latest global model, which all clients hold bit for bit."""
    first, *others = (arrays["vector"] for arrays in federation.held("global").values())
    for other in others:
        np.testing.assert_array_equal(first, other)
    return first


def is_question(message):
    return message.content[m.CONFIG].get(m.ACTION) == m.ACTION_SUM_SHARES


def gone(message):
    return Message(Error(8, "ended"), reply_to=message)


def lost(node, of_question):
    """Loses the reply of a node to the training message, or to the question for shares, of round 2's first attempt."""

    def lose(message, reply):
        config = message.content[m.CONFIG]
        concerned = is_question(message) if of_question else message.metadata.message_type == "train"
        first = config[m.SERVER_ROUND] == 2 and config.get(m.ATTEMPT) == 1
        return gone(message) if concerned and first and message.metadata.dst_node_id == node else reply

    return lose


def test_a_client_lost_before_its_reply_is_in_no_sum(three):
    federation = three().run(lost(3, of_question=False))
    lines = federation.lines()[:2]
    assert [line["attempts"] for line in lines] == [1, 1]
    assert [len(line["clients"]) for line in lines] == [3, 2]
    vector_of(federation)


def test_a_client_lost_while_shares_are_summed_costs_nothing(three, undisturbed):
    federation = three().run(lost(3, of_question=True))
    lines = federation.lines()[:2]
    assert [line["attempts"] for line in lines] == [1, 1]
    assert [len(line["clients"]) for line in lines] == [3, 3], "its update is in the sum"
    np.testing.assert_array_equal(vector_of(federation), undisturbed)


def test_too_few_answers_repeat_the_attempt_with_fresh_keys(three, undisturbed):
    seen = []

    def lose(message, reply):
        if message.metadata.message_type == "train" and kind_of(message)[1] == 2:
            seen.append(m.bytes_of(reply.content, m.UPDATE))
        return lost(3, of_question=True)(message, lost(2, of_question=True)(message, reply))

    federation = three().run(lose)
    line = federation.lines()[1]
    assert line["attempts"] == 2
    assert "1 share sums where 2 open the sum" in json.dumps(line["left_out"])
    np.testing.assert_array_equal(vector_of(federation), undisturbed)
    assert len(seen) == 6
    ends = [np.frombuffer(payload[-20_000:], np.uint8) for payload in seen]
    assert max((one == other).mean() for one, other in itertools.combinations(ends, 2)) < 0.01


@pytest.mark.parametrize("of_question", [False, True])
def test_a_power_cut_of_the_server_changes_nothing_of_the_model(three, undisturbed, of_question):
    def cut(message, reply):
        if kind_of(message)[1] == 2 and (is_question(message) or not of_question):
            raise PowerCutError
        return reply

    federation = three()
    with pytest.raises(PowerCutError):
        federation.run(cut)
    federation.resume()
    np.testing.assert_array_equal(vector_of(federation), undisturbed)


def test_a_sum_that_was_altered_is_refused_by_every_client_and_rolled_back(three, undisturbed, monkeypatch):
    """One value of one sum moved by one step; nothing of it is opened."""
    altered, opened = [], []
    real, read = KaheSum._closed, client_half.KaheCipher._share_sums

    def closed(total, words):
        if total.session.binding.server_round == 2 and not altered:
            altered.append(True)
            words[0, 7] = (int(words[0, 7]) + 256) % RING_54.modulus
        return real(total, words)

    def share_sums(cipher, fields, *rest):
        opened.append((fields["round"], bool(altered)))
        return read(cipher, fields, *rest)

    monkeypatch.setattr(KaheSum, "_closed", closed)
    monkeypatch.setattr(client_half.KaheCipher, "_share_sums", share_sums)
    federation = three().run()
    rows = [row for row in federation.lines()[1]["left_out"] if row["client"] == "the sum"]
    reasons = "; ".join(f"client-{index}: {SUM_ALTERED}" for index in range(3))
    assert [row["reason"] for row in rows] == [f"no client can use the sum of round 2: {reasons}"]
    assert "the sum was altered" in rows[0]["reason"]
    assert [server_round for server_round, _ in opened] == [1] * 3 + [2] * 3
    np.testing.assert_array_equal(vector_of(federation), undisturbed)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_dealer_of_bad_shares_is_named_and_costs_one_attempt(three, monkeypatch, sealed):
    """Client-2 deals everybody else another share than it committed to, or seals what does not open, once."""
    cheated, deal, close_box = [], client_half.deal, client_half.close_box

    def cheats():
        return len(cheated) == 2  # in round 2

    def bad_deal(secret, threshold, context):
        dealt = deal(secret, threshold, context)
        if context.endswith(b"client-2") and len(cheated) < 3:
            cheated.append(True)
            if sealed and cheats():
                dealt.shares[0], dealt.shares[1] = dealt.shares[1], dealt.shares[0]
        return dealt

    def bad_box(share, seed, context, dealer, receiver, proof):
        wrong = not sealed and cheats() and (dealer, receiver) in (("client-2", "client-0"), ("client-2", "client-1"))
        return close_box(share, bytes(32) if wrong else seed, context, dealer, receiver, proof)

    monkeypatch.setattr(client_half, "deal", bad_deal)
    monkeypatch.setattr(client_half, "close_box", bad_box)
    federation = three(rounds=3).run()
    lines = federation.lines()[:3]
    assert [line["attempts"] for line in lines] == [1, 2, 1]
    assert [len(line["clients"]) for line in lines] == [3, 2, 3], "it is back in the next round"
    reasons = [row["reason"] for row in lines[1]["left_out"] if row["client"] == "client-2"]
    assert reasons == ["dealt bad shares, says client-0", "dealt bad shares, says client-1"]
    vector_of(federation)


def forged_question(message, clients, data=None, **config):
    """The question that the server asks next: another set, or other shares."""
    asked = dict(message.content[m.CONFIG]) | {m.CLIENTS: clients} | config
    content = m.with_config(asked)
    content[m.SHARES] = m.bytes_record(m.SHARES, m.bytes_of(message.content, m.SHARES) if data is None else data)
    found = Message(content, message.metadata.dst_node_id, "query")
    found.metadata.__dict__["_message_id"] = "forged"
    return found


def test_a_server_gets_one_set_of_an_attempt_and_no_late_update(three):
    """Client-2's update arrives, and is left out of the set that the server announces first. Whatever it asks the
    others for afterwards, it gets no share of client-2; nor the answers for sets of one, or without the asked client.
    """
    refusals, parts = [], {}
    federation = three()

    def ask(message, clients, data=None, **config):
        context = federation.grid.contexts[message.metadata.dst_node_id]
        client_app._make_client.cache_clear()  # in a process of its own
        with pytest.raises(Exception, match=_REFUSALS) as caught:
            client_app.app(forged_question(message, clients, data, **config), context)
        refusals.append(str(caught.value))

    def lie(message, reply):
        if message.metadata.message_type == "train" and message.metadata.dst_node_id == 3 and kind_of(message)[1] == 2:
            parts["late"] = m.bytes_of(reply.content, m.UPDATE)
            return gone(message)  # the server pretends
        if is_question(message) and kind_of(message)[1] == 2:
            names = ["client-0", "client-1", "client-2"]
            for clients in (names, names[:1], names[1:], ["client-0", "client-2"]):
                ask(message, clients)
            ask(message, names, data=m.bytes_of(message.content, m.SHARES) * 2)
            ask(message, names[:2], **{m.ATTEMPT: 2})
            ask(message, names[:2], **{m.COHORT: names[:2]})
        return reply

    federation.run(lie)
    assert len(parts["late"]) > 20_000
    assert len(refusals) == 14
    assert [len(line["clients"]) for line in federation.lines()[:2]] == [3, 2]
    vector_of(federation)


def test_a_question_in_advance_gets_no_answer_either(three):
    """The set of two that the server asks for before the honest one: it gets that one, and the honest one gets none."""
    asked = []
    federation = three(rounds=1)

    def early(message, reply):
        if is_question(message) and message.metadata.dst_node_id == 1 and not asked:
            asked.append(message)
            context = federation.grid.contexts[2]
            piece = len(m.bytes_of(message.content, m.SHARES)) // 3
            data = m.bytes_of(message.content, m.SHARES)[: 2 * piece]
            question = retargeted(forged_question(message, ["client-0", "client-1"], data), 2)
            answer = client_app.app(question, context).content
            assert m.bad_dealer(answer) == "client-0", "the shares were dealt to client-0, and open for no other"
            assert not answer.array_records
        return reply

    federation.run(early)
    line = federation.lines()[0]
    assert asked
    assert "client-1 has answered another question about this attempt" in json.dumps(line["left_out"])
    assert len(line["clients"]) == 3


def retargeted(message, node):
    message.metadata.__dict__["_dst_node_id"] = node
    return message


def test_a_replayed_round_has_the_one_answer_of_sums_that_cannot_be_used(three):
    federation = three().run()
    first = federation.folder.load_arrays("server")[0]["aggregate"].tobytes()
    run_key = federation.folder.load_arrays("server")[1]["run_key"]
    answers = set()
    for number, payload in enumerate((first, relabelled(first, round=3))):
        client_app._make_client.cache_clear()
        content = m.with_config(
            {m.RUN_KEY: run_key, m.SERVER_ROUND: 4, m.ORDER: [2**40, number], m.COEFFICIENT_SUM: 1.0, m.MEASURE: False}
        )
        content[m.AGGREGATE] = m.bytes_record(m.AGGREGATE, payload)
        message = Message(content, 1, "evaluate")
        message.metadata.__dict__["_message_id"] = f"replay-{number}"
        reply = client_app.app(message, federation.grid.contexts[1])
        answers.add(m.unusable_sum(reply.content))
    assert answers == {UNUSABLE, SUM_ALTERED}  # of another round by its header; under another header by its tag


def test_no_secret_of_an_attempt_is_left_on_a_disk(three, monkeypatch):
    """Neither the key nor a share, in any file of the run folder, as whole numbers or as bytes."""
    secrets, real = [], client_half.deal

    def deal(secret, threshold, context):
        dealt = real(secret, threshold, context)
        secrets.extend(secret.astype(kind).tobytes()[:64] for kind in (np.int8, np.int16, np.int32, np.int64))
        secrets.extend(share[40:104] for share in dealt.shares)
        return dealt

    monkeypatch.setattr(client_half, "deal", deal)
    federation = three(rounds=1).run()
    files = [path for path in federation.folder.path.rglob("*") if path.is_file()]
    assert any(path.name == "share_attempts.json" for path in files)
    contents = b"".join(path.read_bytes() for path in files)
    assert len(secrets) == 21
    assert not any(secret in contents for secret in secrets)


@pytest.mark.parametrize(
    ("changes", "present", "reason"),
    [
        ("federation.num_clients=2", 1, "a cohort of 1; the sum of one update is that update"),
        ("federation.num_clients=3 privacy.colluding=1", 2, "1 colluding clients of 2"),
    ],
)
def test_a_cohort_that_is_too_small_for_a_sum_ends_the_run_with_its_reason(make_federation, changes, present, reason):
    """After its attempts, like any round below the quorum; nobody trains for nothing."""
    words = (
        f"{KAHE} data.partition.by=identity federation.quorum=0.3 federation.rounds=1 federation.retries=1 {changes}"
    )
    federation = make_federation(changes=words, node_configs=THREE_NODES[:present])
    with pytest.raises(
        FederationError, match=rf"^round 1 stayed below the quorum: the sum: {reason}.*; the sum: {reason}"
    ):
        federation.run()
    assert {message.metadata.message_type for message in federation.grid.sent} == {"query"}
