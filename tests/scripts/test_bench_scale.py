"""Benchmarks of scale: sums by a tree are sums, costs of cohorts, and the set and disk of many clients."""

import json

import numpy as np
import pytest

from app.data.readers.reader import open_reader
from app.settings.checks import SettingsError
from scripts.bench import scale, tree


def test_a_tree_of_sums_is_the_sum_of_all(capsys):
    tree.main(["sites=23", "branches=5", "params=1000", "cohorts=4,16"])
    flat, *cohorts = map(json.loads, capsys.readouterr().out.splitlines())
    assert (flat["sites"], flat["aggregators"]) == (23, 5)
    assert flat["relative_difference"] < 3e-7  # the sum of an aggregator is rounded to float32
    assert flat["mb_root"] == pytest.approx(flat["mb_one_server"] * 5 / 23, abs=0.06)
    assert [row["clients"] for row in cohorts] == [4, 16]
    assert cohorts[0]["kb_shares"] < cohorts[1]["kb_shares"] < cohorts[1]["kb_update"]


def test_a_lost_group_would_be_seen(monkeypatch):
    """The difference is one of the sums themselves."""
    add = tree._TimedSum.add
    monkeypatch.setattr(tree._TimedSum, "add", lambda self, payload: add(self, payload) if self.kept(payload) else None)
    lost = []

    def kept(_, payload):  # the first payload of the tree's groups
        lost.append(payload)
        return len(lost) != 2

    monkeypatch.setattr(tree._TimedSum, "kept", kept, raising=False)
    assert tree.compare(10, 5, 100)["relative_difference"] > 0.1


def test_the_set_has_a_site_for_each_client(tmp_path):
    reader = open_reader("manifest", scale.write_sites(tmp_path / "data", 5), seed=0)
    assert len({sample.site for sample in reader.train()}) == 5
    (direction,) = reader.evaluation("test")
    assert len(direction.query) == 16


def test_bytes_on_disk_count_linked_files_once(tmp_path):
    (tmp_path / "a").write_bytes(np.zeros(1000, np.uint8).tobytes())
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").write_bytes(b"x" * 10)
    assert scale.disk_bytes(tmp_path) == 1010


@pytest.mark.parametrize("words", [["clients=1"], ["clients=4,x"], ["privacy=none"], ["client=4"]])
def test_wrong_words_are_named(words):
    with pytest.raises(SettingsError, match=words[0].partition("=")[0]):
        scale.main(words)
