"""Whole federations under `privacy.cipher=kahe`: sums, shares and questions that a client or the server forges."""

import json

import numpy as np
import pytest
from encrypted_payloads import relabelled
from federation_checks import kind_of
from flwr.app import Message
from kahe_federations import gone, is_question, vector_of

from app import client_app
from app.federation.global_model import SUM_ALTERED, UNUSABLE
from strategies import messages as m
from strategies.ciphers.kahe import client_half
from strategies.ciphers.kahe.ring import RING_54
from strategies.ciphers.kahe.server_half import KaheSum

pytestmark = pytest.mark.slow

_REFUSALS = r"another question|gone on|dealt no shares|not among|needed|3 statements of share keys for a cohort of 2"


def test_a_sum_that_was_altered_is_refused_by_every_client_and_rolled_back(three_kahe, undisturbed_kahe, monkeypatch):
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
    federation = three_kahe().run()
    rows = [row for row in federation.lines()[1]["left_out"] if row["client"] == "the sum"]
    reasons = "; ".join(f"client-{index}: {SUM_ALTERED}" for index in range(3))
    assert [row["reason"] for row in rows] == [f"no client can use the sum of round 2: {reasons}"]
    assert "the sum was altered" in rows[0]["reason"]
    assert [server_round for server_round, _ in opened] == [1] * 3 + [2] * 3
    np.testing.assert_array_equal(vector_of(federation), undisturbed_kahe)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_dealer_of_bad_shares_is_named_and_costs_one_attempt(three_kahe, monkeypatch, sealed):
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
    federation = three_kahe(rounds=3).run()
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


def test_a_server_gets_one_set_of_an_attempt_and_no_late_update(three_kahe):
    """Client-2's update arrives, and is left out of the set that the server announces first. Whatever it asks the
    others for afterwards, it gets no share of client-2; nor the answers for sets of one, or without the asked client.
    """
    refusals, parts = [], {}
    federation = three_kahe()

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


def test_a_question_in_advance_gets_no_answer_either(three_kahe):
    """The set of two that the server asks for before the honest one: it gets that one, and the honest one gets none."""
    asked = []
    federation = three_kahe(rounds=1)

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


def test_a_replayed_round_has_the_one_answer_of_sums_that_cannot_be_used(three_kahe):
    federation = three_kahe().run()
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


def test_no_secret_of_an_attempt_is_left_on_a_disk(three_kahe, monkeypatch):
    """Neither the key nor a share, in any file of the run folder, as whole numbers or as bytes."""
    secrets, real = [], client_half.deal

    def deal(secret, threshold, context):
        dealt = real(secret, threshold, context)
        secrets.extend(secret.astype(kind).tobytes()[:64] for kind in (np.int8, np.int16, np.int32, np.int64))
        secrets.extend(share[40:104] for share in dealt.shares)
        return dealt

    monkeypatch.setattr(client_half, "deal", deal)
    federation = three_kahe(rounds=1).run()
    files = [path for path in federation.folder.path.rglob("*") if path.is_file()]
    assert any(path.name == "share_attempts.json" for path in files)
    contents = b"".join(path.read_bytes() for path in files)
    assert len(secrets) == 21
    assert not any(secret in contents for secret in secrets)
