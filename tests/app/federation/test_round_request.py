"""A server's message as a client reads it, and its reply as the server does."""

import math

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from app.federation.global_model import PassedOn
from app.federation.measuring import evaluation_loss
from app.federation.round_request import ClientError, RoundRequest
from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.round_reply import RoundReply

CONFIG = {m.RUN_KEY: "f" * 16, m.SERVER_ROUND: 3, m.ORDER: [12, 5], m.COEFFICIENT_SUM: 0.75}
ATTEMPT = {
    m.ATTEMPT: 2,
    m.NONCE: "abc",
    m.COHORT: ["a", "b", "c"],
    m.SHARE_KEYS: ["1", "2", "3"],
    m.COEFFICIENT: 0.25,
    m.MEASURE: True,
}
NAMED = {m.GLOBAL_VERSION: 1, m.GLOBAL_DIGEST: "d"}


def content(config, **arrays):
    return RecordDict({m.CONFIG: ConfigRecord(config), **{k: m.bytes_record(k, v) for k, v in arrays.items()}})


def test_a_training_message_is_read():
    request = RoundRequest.of(*m.received(content(CONFIG | ATTEMPT, aggregate=b"sum")))
    assert (request.server_round, request.in_order()) == (3, (12, 5))
    assert request.binding("key", "layout") == Binding("key", "layout", 3, 2, ("a", "b", "c"), "abc")
    assert request.share_keys == ("1", "2", "3")
    assert (request.measure, request.clients) == (True, ())
    assert (bytes(request.aggregate), request.coefficient_sum, request.passed_on) == (b"sum", 0.75, None)
    assert request.share("a", 0.5) == 0.25
    assert request.mean_from is None  # of a server of an older version
    assert RoundRequest.of(*m.received(content(CONFIG | {m.MEAN_FROM: 0}))).mean_from == 0


def test_the_model_that_is_passed_on_comes_before_the_sum():
    sealed, both = (
        RoundRequest.of(*m.received(content(CONFIG | NAMED, **arrays)))
        for arrays in ({m.GLOBAL: b"model"}, {m.AGGREGATE: b"sum", m.GLOBAL: b"model"})
    )
    for request, aggregate in ((sealed, b""), (both, b"sum")):
        assert request.passed_on == PassedOn(memoryview(b"model"), 1, "d")
        assert bytes(request.aggregate) == aggregate
    nothing = RoundRequest.of(*m.received(content(CONFIG | NAMED)))  # a query for a model that this client holds
    assert (nothing.passed_on, nothing.global_version, nothing.global_digest) == (None, 1, "d")


def test_bytes_are_viewed_and_not_copied():
    """From the message to the request, and from the cipher to the message: one and the same memory."""
    message = content(CONFIG | NAMED, aggregate=b"a large sum", **{m.GLOBAL: b"a large model"})
    request = RoundRequest.of(*m.received(message))
    assert address(request.aggregate) == address(message[m.AGGREGATE][m.AGGREGATE].data)
    assert address(request.sealed) == address(message[m.GLOBAL][m.GLOBAL].data)
    payload = b"a large update"
    reply = RoundReply.of(3, {}, {}, np.frombuffer(payload, np.uint8)).content()
    assert reply[m.UPDATE][m.UPDATE].data is payload
    part = RoundReply.of(3, {}, {}, np.frombuffer(payload, np.uint8)[2:7]).content()
    assert part[m.UPDATE][m.UPDATE].data == payload[2:7]


def address(data):
    return np.frombuffer(data, np.uint8).__array_interface__["data"][0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({m.SERVER_ROUND: "3"}, "server-round of a message is '3' instead of a number"),
        ({m.SERVER_ROUND: 3.5}, "server-round of a message is 3.5 instead of a number"),
        ({m.SERVER_ROUND: None}, "no server-round in the message"),
        ({m.ATTEMPT: True}, "attempt of a message is True instead of a number"),
        ({m.COHORT: "abc"}, "cohort of a message is 'abc' instead of a list"),
        ({m.COHORT: [b"a", b"b"]}, "cohort of a message is .* instead of a list of texts"),
        ({m.CLIENTS: [1, 2]}, "clients of a message is .* instead of a list of texts"),
        ({m.ORDER: [1]}, r"order of a message is \[1\]"),
        ({m.COEFFICIENT: "much"}, "coefficient of a message is 'much'"),
    ],
)
def test_another_type_is_refused_by_its_key(change, reason):
    config = {key: value for key, value in (CONFIG | ATTEMPT | change).items() if value is not None}
    with pytest.raises(ClientError, match=reason):
        RoundRequest.of([], config)


def test_what_a_message_lacks_is_named_where_it_is_needed():
    bare = RoundRequest.of([], {m.SERVER_ROUND: 0})
    with pytest.raises(ClientError, match="no order in the message"):
        bare.in_order()
    with pytest.raises(ClientError, match="north: no coefficient in the message"):
        bare.share("north", 0.5)
    for too_many, config in ((2, CONFIG), (3, CONFIG | NAMED)):
        with pytest.raises(ClientError, match=f"{too_many} arrays in a message that explains {too_many - 1}"):
            RoundRequest.of([np.zeros(1, np.uint8)] * too_many, config)


@pytest.mark.parametrize("share", [math.nan, 0.0, -0.1, 0.51, 1])
def test_a_share_beyond_the_limit_is_refused(share):
    with pytest.raises(ClientError, match=r"the largest is 0\.5"):
        RoundRequest.of([], CONFIG | ATTEMPT | {m.COEFFICIENT: share}).share("a", 0.5)


def test_a_reply_is_read_as_it_was_written():
    written = RoundReply.of(7, {"loss_total": 0.5}, {m.CLIENT: "a", m.NUM_EXAMPLES: 9}, np.frombuffer(b"up", np.uint8))
    read = RoundReply.trained(written.content(), ())
    assert read == RoundReply({"loss_total": 0.5}, {m.CLIENT: "a", m.NUM_EXAMPLES: 7}, b"up")
    evaluated = RoundReply.of(7, {"global_mAP": 0.5}, {m.CLIENT: "a"}).content()
    assert m.UPDATE not in evaluated
    assert RoundReply.evaluated(evaluated, ()).measures == {"global_mAP": 0.5}
    with pytest.raises(m.MessageError, match="no array 'update' in the message"):
        RoundReply.trained(evaluated, ())


def test_the_loss_of_an_evaluation():
    assert evaluation_loss({"global_mAP": 0.75, "global_rank1": 0.5}, "mAP") == 0.25
    assert math.isnan(evaluation_loss({}, "mAP"))
