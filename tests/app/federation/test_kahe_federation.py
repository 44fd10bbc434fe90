"""Whole federations under `privacy.cipher=kahe`: clients and the server are lost, and the model is the same."""

import itertools
import json

import numpy as np
import pytest
from federation_checks import PowerCutError, kind_of
from kahe_federations import KAHE, THREE_NODES, gone, is_question, vector_of

from strategies import messages as m
from strategies.rounds import FederationError

pytestmark = pytest.mark.slow


def lost(node, of_question):
    """Loses the reply of a node to the training message, or to the question for shares, of round 2's first attempt."""

    def lose(message, reply):
        config = message.content[m.CONFIG]
        concerned = is_question(message) if of_question else message.metadata.message_type == "train"
        first = config[m.SERVER_ROUND] == 2 and config.get(m.ATTEMPT) == 1
        return gone(message) if concerned and first and message.metadata.dst_node_id == node else reply

    return lose


def test_a_client_lost_before_its_reply_is_in_no_sum(three_kahe):
    federation = three_kahe().run(lost(3, of_question=False))
    lines = federation.lines()[:2]
    assert [line["attempts"] for line in lines] == [1, 1]
    assert [len(line["clients"]) for line in lines] == [3, 2]
    vector_of(federation)


def test_a_client_lost_while_shares_are_summed_costs_nothing(three_kahe, undisturbed_kahe):
    federation = three_kahe().run(lost(3, of_question=True))
    lines = federation.lines()[:2]
    assert [line["attempts"] for line in lines] == [1, 1]
    assert [len(line["clients"]) for line in lines] == [3, 3], "its update is in the sum"
    np.testing.assert_array_equal(vector_of(federation), undisturbed_kahe)


def test_too_few_answers_repeat_the_attempt_with_fresh_keys(three_kahe, undisturbed_kahe):
    seen = []

    def lose(message, reply):
        if message.metadata.message_type == "train" and kind_of(message)[1] == 2:
            seen.append(m.bytes_of(reply.content, m.UPDATE))
        return lost(3, of_question=True)(message, lost(2, of_question=True)(message, reply))

    federation = three_kahe().run(lose)
    line = federation.lines()[1]
    assert line["attempts"] == 2
    assert "1 share sums where 2 open the sum" in json.dumps(line["left_out"])
    np.testing.assert_array_equal(vector_of(federation), undisturbed_kahe)
    assert len(seen) == 6
    ends = [np.frombuffer(payload[-20_000:], np.uint8) for payload in seen]
    assert max((one == other).mean() for one, other in itertools.combinations(ends, 2)) < 0.01


@pytest.mark.parametrize("of_question", [False, True])
def test_a_power_cut_of_the_server_changes_nothing_of_the_model(three_kahe, undisturbed_kahe, of_question):
    def cut(message, reply):
        if kind_of(message)[1] == 2 and (is_question(message) or not of_question):
            raise PowerCutError
        return reply

    federation = three_kahe()
    with pytest.raises(PowerCutError):
        federation.run(cut)
    federation.resume()
    np.testing.assert_array_equal(vector_of(federation), undisturbed_kahe)


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
