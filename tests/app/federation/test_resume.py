"""Runs that were stopped and go on, against a run that was not."""

import pytest
from federation_checks import PowerCutError, assert_same_run, kind_of, power_cut_at

from app import client_app

pytestmark = pytest.mark.slow


def test_a_run_stopped_between_rounds_and_resumed_equals_an_uninterrupted_one(make_federation, uninterrupted):
    federation = make_federation(changes="federation.rounds=4")

    def stop(message, reply):
        if kind_of(message) == ("train", 2) and message.metadata.dst_node_id == 2:
            push = federation.grid.push_messages
            federation.grid.push_messages = lambda messages: cut(push, messages)
        return reply

    def cut(push, messages):
        if any(kind_of(message)[1] == 3 for message in messages):
            raise PowerCutError
        return push(messages)

    with pytest.raises(PowerCutError):
        federation.run(stop)
    assert federation.checkpoint()[1]["server_round"] == 2
    for store in federation.stores().values():  # a repeated round needs the moments before it
        assert (store.rounds("private"), store.rounds("local")) == ([1, 2], [2])
        assert [name for name in store.read("private", 1)[0] if name.startswith("halved/")]
        files = [path.stat() for path in store.folder.glob("global-*")]
        assert {file.st_nlink for file in files} == {3}, "one copy for both clients, and the name that they share"
    federation.resume()
    assert_same_run(federation, uninterrupted)
    assert federation.folder.read_summary()["resumed_after"] == 2


def test_a_run_stopped_within_a_round_and_resumed_equals_an_uninterrupted_one(make_federation, uninterrupted):
    federation = make_federation(changes="federation.rounds=4")
    with pytest.raises(PowerCutError):
        federation.run(power_cut_at("train", 3))
    assert federation.checkpoint()[1]["server_round"] == 2
    assert [store.rounds("private") for store in federation.stores().values()] == [[2, 3], [1, 2]]
    federation.resume()
    assert_same_run(federation, uninterrupted)


def test_a_run_stopped_before_the_final_model_was_delivered_can_be_resumed(make_federation, uninterrupted):
    federation = make_federation(changes="federation.rounds=4")
    with pytest.raises(PowerCutError):
        federation.run(power_cut_at("evaluate"))
    federation.resume()
    assert_same_run(federation, uninterrupted)


def test_a_new_process_for_every_message_changes_nothing(make_federation, uninterrupted):
    """As in deployment, where whatever a client knows from round to round comes from its folder."""
    federation = make_federation(changes="federation.rounds=4")

    def restart(_, reply):
        client_app._make_client.cache_clear()
        return reply

    assert_same_run(federation.run(restart), uninterrupted)


def test_a_rule_that_has_not_been_reached_goes_on_after_a_resume(make_federation):
    changes = "federation.rounds=9 train.epochs=3 federation.patience=2 federation.min_delta=2"
    federation = make_federation(changes=changes)
    with pytest.raises(PowerCutError):
        federation.run(power_cut_at("train", 4))
    federation.resume()
    assert federation.folder.read_summary()["rounds"] == 4


def test_a_run_goes_on_with_the_key_that_it_began_with(make_federation):
    federation = make_federation(changes="federation.rounds=2 privacy=kahe")
    federation.run()
    own = federation.checkpoint()[1]["key_id"]
    with pytest.raises(ValueError, match=f"begun with the federation key {own}, and cannot be resumed with 0123"):
        federation.run(more="federation.resume=true federation.rounds=3 privacy.key_id='\"0123\"'")
    federation.run(more=f"federation.resume=true federation.rounds=3 privacy.key_id='\"{own}\"'")
    assert federation.checkpoint()[1]["server_round"] == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_stopped_run_says_so_and_has_no_summary_while_it_goes_on(make_federation, error):
    """A run of two rounds that had ended is resumed for a third, and stopped in it."""
    federation = make_federation(changes="federation.rounds=2")
    federation.run()

    def stop(message, reply):
        if kind_of(message) == ("train", 3):
            assert not (federation.folder.path / "summary.json").exists()
            raise error
        return reply

    with pytest.raises(error):
        federation.run(stop, "federation.resume=true federation.rounds=3")
    assert federation.folder.read_progress()["failed"] == "the server, or the run, was stopped"
