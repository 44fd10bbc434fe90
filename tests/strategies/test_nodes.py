"""What a node's answer must hold, and which digest counts."""

import pytest
from flwr.app import ConfigRecord

from strategies.nodes import Node, RefusedError, agreed_digests, read_node

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
        ({"client": ""}, "client is ''"),
        ({"client": 3}, "client is 3"),
        ({"num-examples": 0}, "num-examples is 0"),
        ({"num-examples": 1.5}, "num-examples is 1.5"),
        ({"num-examples": None}, "num-examples is None"),
        ({"held-digests": ["x"]}, "held models are malformed"),
        ({"held-rounds": None}, "held models are malformed"),
    ],
)
def test_another_answer_is_refused_by_name(change, reason):
    info = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(RefusedError, match=reason):
        read_node(7, ConfigRecord(info), **EXPECTED)


def test_the_digest_of_the_majority_counts_and_a_tie_is_settled_alike_everywhere():
    nodes = [Node(n, f"client-{n}", 1, held) for n, held in enumerate([{1: "b", 2: "c"}, {1: "b"}, {1: "a", 2: "d"}])]
    assert agreed_digests(nodes) == {1: "b", 2: "c"}
    assert agreed_digests(reversed(nodes)) == {1: "b", 2: "c"}
    assert agreed_digests([]) == {}
