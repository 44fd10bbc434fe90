"""Record of a site's messages: sums, parts of seconds, outcomes, and what damage or another version does."""

import json
import stat
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import StoredFileError
from app.core.site_activity import KINDS, OUTCOMES, PARTS, Done, note, parts_of, read_activity

MEASURES = {
    **{"seconds_data": 1.0, "seconds_forward": 2.0, "seconds_backward": 3.0, "seconds_step": 0.5},
    **{"seconds_encrypt": 0.25, "seconds_measure": 4.0, "seconds_total": 12.0, "pictures": 30, "loss_total": 0.7},
}
TRAINED = Done("train", "answered", "a" * 16, 3, 1000.0, 12.0, 100, 40, MEASURES)


def test_a_round_is_kept_by_part(tmp_path):
    assert read_activity(tmp_path).messages == {}
    note(tmp_path, TRAINED)
    record = read_activity(tmp_path)
    assert record.messages == {"train": {"answered": 1}}
    parts = {"data": 1.0, "training": 5.5, "encryption": 0.25, "measuring": 4.0, "other": 1.25}
    assert record.round_seconds == parts  # 12 s in all
    assert {part: value for part, value in record.seconds.items() if value} == parts
    assert (record.bytes_received, record.bytes_sent, record.images) == (100, 40, 30)
    assert (record.server_round, record.round_ended, record.ended) == (3, 1012.0, 1012.0)
    assert stat.S_IMODE((tmp_path / "activity.json").stat().st_mode) == 0o600


def test_the_time_between_two_messages_of_a_run_is_waiting(tmp_path):
    note(tmp_path, TRAINED)
    note(tmp_path, replace(TRAINED, kind="query", began=1020.0, seconds=1.0, measures={}, bytes_received=7))
    note(tmp_path, replace(TRAINED, run="b" * 16, began=1100.0))  # of another run
    note(tmp_path, replace(TRAINED, run="b" * 16, began=1112.0 + 90_000))  # resumed on the next day
    note(tmp_path, replace(TRAINED, kind="evaluate", run="b" * 16, began=1114.0 + 90_012, seconds=5.0))
    record = read_activity(tmp_path)
    assert record.seconds["waiting"] == 8.0 + 2.0
    assert (record.seconds["queries"], record.seconds["final_model"]) == (1.0, 5.0)
    assert record.messages == {"train": {"answered": 3}, "query": {"answered": 1}, "evaluate": {"answered": 1}}
    assert record.bytes_received == 4 * 100 + 7


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(OUTCOMES), st.floats(0, 1e6)), max_size=12))
def test_seconds_and_messages_are_sums(tmp_path_factory, messages):
    """With a run of its own each, so that nothing is waiting."""
    node = tmp_path_factory.mktemp("node")
    for number, (kind, outcome, seconds) in enumerate(messages):
        note(node, Done(kind, outcome, f"{number:016x}", number, 0.0, seconds, 1))
    record = read_activity(node)
    assert sum(record.seconds.values()) == pytest.approx(sum(seconds for *_, seconds in messages))
    assert sum(sum(each.values()) for each in record.messages.values()) == len(messages) == record.bytes_received
    assert set(record.seconds) <= set(PARTS)


def test_a_failed_training_is_no_round(tmp_path):
    note(tmp_path, TRAINED)
    note(tmp_path, replace(TRAINED, outcome="failed", server_round=4, began=2000.0, measures={}))
    record = read_activity(tmp_path)
    assert record.server_round == 3
    assert record.messages["train"] == {"answered": 1, "failed": 1}
    assert record.seconds["other"] == pytest.approx(1.25 + 12.0)


def test_parts_are_never_negative():
    assert parts_of({"seconds_data": 5.0, "seconds_measure": None}, 4.0)["other"] == 0.0


def test_processes_at_once_lose_nothing(tmp_path):
    threads = [threading.Thread(target=note, args=(tmp_path, TRAINED)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_activity(tmp_path).messages == {"train": {"answered": 8}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON; delete it"),
        ('{"format": 2}', "of format 2, written by another version"),
        ('{"format": 1, "images": "x"}', "'images' is 'x'"),
        ("[]", "no JSON object"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(tmp_path, text, said):
    (tmp_path / "activity.json").write_text(text)
    with pytest.raises(StoredFileError, match=said):
        read_activity(tmp_path)


def test_a_later_version_may_add_keys_and_a_power_cut_may_empty_it(tmp_path):
    (tmp_path / "activity.json").write_text(json.dumps({"format": 1, "images": 3, "new": [1]}))
    assert read_activity(tmp_path).images == 3
    (tmp_path / "activity.json").write_text("")
    assert read_activity(tmp_path).images == 0
