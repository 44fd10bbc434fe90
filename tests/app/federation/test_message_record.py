"""Record of a real node's messages, beside what travelled in the grid and what the server wrote."""

import logging
from collections import Counter

import pytest
from federation_checks import divide
from policed_site import TEMPLATE, filled

from app.core.site_activity import read_activity
from strategies.rounds import FederationError

pytestmark = pytest.mark.slow


@pytest.fixture
def make_sites(make_federation, pictures_root, tmp_path):
    """A federation of two real sites, and the state folder of each by name; `more` is further node config of all."""

    def make(changes="", **more):
        parts = divide(pictures_root, tmp_path)
        states = {name: tmp_path / "state" / name for name in parts}
        nodes = [
            {"client": name, "data": "manifest", "data-root": str(part), "state-dir": str(states[name]), **more}
            for name, part in parts.items()
        ]
        return make_federation(changes=changes, node_configs=nodes), states

    return make


def size(message):
    """Bytes of the arrays, by the records that Flower hands over."""
    if message.has_error():
        return 0
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())


def test_the_record_agrees_with_what_travelled(make_sites):
    federation, states = make_sites()
    federation.run()
    lines = [line for line in federation.folder.read_rounds() if line["attempts"]]
    for node_id, (name, state) in enumerate(states.items(), start=1):
        record = read_activity(state)
        sent = [message for message in federation.grid.sent if message.metadata.dst_node_id == node_id]
        replies = [reply for reply in federation.grid.received if reply.metadata.src_node_id == node_id]
        kinds = Counter(message.metadata.message_type for message in sent)
        assert {kind: outcomes["answered"] for kind, outcomes in record.messages.items()} == kinds
        assert kinds["train"] == 3
        assert record.bytes_received == sum(map(size, sent)) > 0
        assert record.bytes_sent == sum(map(size, replies)) > 0
        rows = [line["clients"][name] for line in lines]
        training = ("seconds_forward", "seconds_backward", "seconds_step")
        assert record.seconds["training"] == pytest.approx(sum(row[key] for row in rows for key in training))
        assert record.seconds["encryption"] == pytest.approx(sum(row["seconds_encrypt"] for row in rows))
        assert record.seconds["measuring"] == pytest.approx(sum(row.get("seconds_measure", 0) for row in rows))
        assert record.images == sum(row["pictures"] for row in rows)
        assert record.server_round == 3
        assert 0 < sum(record.round_seconds.values()) < 600
        text = (state / "activity.json").read_text()
        assert not any(word in text for word in (".png", "train-", str(state)))


def test_simulated_nodes_have_none(make_federation, tmp_path):
    make_federation(changes="federation.rounds=1").run()
    assert not list(tmp_path.rglob("activity.json"))


def test_a_refusal_of_the_policy_is_counted_as_one(make_sites, tmp_path):
    policy = tmp_path / "policy.toml"
    text = filled(TEMPLATE, "a")
    policy.write_text(text.replace("tasks = []", 'tasks = ["plate_text"]'))
    federation, states = make_sites(policy=str(policy))
    with pytest.raises(FederationError):
        federation.run()
    for state in states.values():
        [(kind, outcomes)] = read_activity(state).messages.items()
        assert (kind, set(outcomes)) == ("query", {"refused"})


def test_images_that_are_gone_are_a_failure(make_sites, tmp_path):
    federation, states = make_sites(**{"data-root": str(tmp_path / "gone")})
    with pytest.raises(FederationError):
        federation.run()
    for state in states.values():
        assert read_activity(state).messages["query"]["failed"] > 0


def test_a_record_that_cannot_be_written_costs_no_reply(make_sites, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    federation, states = make_sites("federation.rounds=1")
    for state in states.values():
        state.mkdir(parents=True)
        (state / "activity.json").write_text("{")
    federation.run()
    assert federation.folder.read_summary()["left_out"] == []
    assert "no record for the metrics" in caplog.text
