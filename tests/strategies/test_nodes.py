"""Content of a node's answer, and the digest that counts."""

import time

import pytest
from flwr.app import ConfigRecord

from strategies.nodes import Node, RefusedError, agreed_digests, disagreement, read_node, share_key_digest
from strategies.share_keys import ShareKeyRules, new_share_keys
from strategies.signing import new_signing_key

GOOD = {
    "client": "north",
    "task": "dual_reid",
    "layout": "abc",
    "key-id": "k1",
    "num-examples": 12,
    "held-rounds": [3, 4],
    "held-digests": ["x", "y"],
}
EXPECTED = {"task": "dual_reid", "layout": "abc", "key_id": "k1"}


def test_a_good_answer_is_read():
    node = read_node(7, ConfigRecord(GOOD), **EXPECTED)
    assert node == Node(7, "north", 12, {3: "x", 4: "y"}, 0)
    assert read_node(7, ConfigRecord({**GOOD, "num-nodes": 3}), **EXPECTED).num_nodes == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "plate_text"}, "task 'plate_text' instead of 'dual_reid'"),
        ({"layout": "abd"}, "layout 'abd' instead of 'abc'"),
        ({"key-id": ""}, "key-id '' instead of 'k1'"),
        ({"key-id": None}, "key-id None instead of 'k1'"),
        ({"client": ""}, "client is '': it has 0 characters"),
        ({"client": "x" * 101}, r"client is 'x{99}\.\.\.: it has 101 characters"),
        ({"client": 3}, "client is 3"),
        ({"num-examples": 0}, "num-examples is 0"),
        ({"num-examples": 1.5}, "num-examples is 1.5"),
        ({"num-examples": None}, "num-examples is None"),
        ({"held-digests": ["x"]}, "held models are malformed"),
        ({"held-rounds": None}, "held models are malformed"),
        ({"held-rounds": [True, False]}, "held models are malformed"),
        ({"held-rounds": [-1, 4]}, "held models are malformed"),
        ({"held-rounds": [4, 4]}, "held models are malformed"),
        ({"held-rounds": [3.0, 4.0]}, "held models are malformed"),
        ({"held-digests": ["x", "y" * 65]}, "digests of held models are malformed"),
        ({"held-digests": ["x", "\n"]}, "digests of held models are malformed"),
        ({"held-digests": [1, 2]}, "digests of held models are malformed"),
        ({"num-examples": "c" * 2**20}, r"num-examples is 'c{99}\.\.\.$"),
    ],
)
def test_another_answer_is_refused_by_name(change, reason):
    info = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(RefusedError, match=reason):
        read_node(7, ConfigRecord(info), **EXPECTED)


def test_a_share_key_is_read_where_the_cipher_has_shares():
    authority, key_id = new_signing_key(), "0" * 16
    rules = ShareKeyRules(authority.public_key(), key_id)
    names = ("north", "south")
    keys = {name: new_share_keys("parks", name, key_id, authority, now=time.time()) for name in names}
    nodes = []
    for number, name in enumerate(names):
        info = ConfigRecord({**GOOD, "client": name, "share-key": keys[name].text})
        nodes.append(read_node(number, info, **EXPECTED, share_keys=rules))
        assert nodes[-1].statement == keys[name].text
        assert read_node(number, info, **EXPECTED).statement == "", "what no cipher needs is not handed on"
    members = keys["north"].members(names, [node.statement for node in nodes])
    assert share_key_digest(nodes[::-1]) == members.digest
    assert share_key_digest([Node(1, "north", 12, {})]) == ""
    for text, reason in (
        (None, "shows no statement"),
        (b"x", "is no text"),
        (keys["south"].text, "share key of 'south'"),
    ):
        info = GOOD if text is None else {**GOOD, "share-key": text}
        with pytest.raises(RefusedError, match=reason):
            read_node(7, ConfigRecord(info), **EXPECTED, share_keys=rules)


def nodes_holding(*digests):
    return [Node(n, f"client-{n}", 1, {4: digest} if digest else {0: "start"}) for n, digest in enumerate(digests)]


@pytest.mark.parametrize(
    ("digests", "agreed"),
    [
        ("b", "b"),  # one node that has it, others have lost it
        (["b", ""], "b"),
        (["b", "b", "a"], "b"),
        (["a", "b"], None),
        (["a", "b", "c"], None),
        (["b", "b", "a", "c"], None),  # a plurality, and no majority
        (["b", "b", "a", "a"], None),
        (["b", "b", "a", "", ""], "b"),
    ],
)
def test_a_digest_counts_that_more_than_half_of_the_holders_have(digests, agreed):
    for nodes in (nodes_holding(*digests), nodes_holding(*reversed(digests))):
        assert agreed_digests(nodes).get(4) == agreed
        said = disagreement(nodes, 4)
        assert bool(said) == (agreed is None)
        assert all(node.client in said for node in nodes if 4 in node.held) or agreed
        assert disagreement(nodes, 5) == ""
    assert agreed_digests([]) == {}


def test_the_start_that_everybody_draws_is_agreed_on_without_a_majority():
    """Processors of two kinds round it differently; each node looks at it before it takes it."""
    for starts, agreed in ((["b", "a"], "a"), (["c", "b", "a", "b"], "b"), (["b", "b", "a", "a"], "a")):
        nodes = [Node(number, f"client-{number}", 1, {0: start}) for number, start in enumerate(starts)]
        assert agreed_digests(nodes) == {0: agreed}
        assert disagreement(nodes, 0) == ""
