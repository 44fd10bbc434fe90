"""The trial of a register on a data set."""

import json

import pytest

from app.settings.checks import SettingsError
from scripts.bench import identify


def test_shares_add_up_and_a_stranger_is_never_right(run_folder, base_overrides, capsys):
    root = next(word for word in base_overrides.split() if word.startswith("data.root="))
    words = [f"run={run_folder}", "data=manifest", root, "data.eval_split=test"]
    identify.main([*words, "calibrate=val", "rate=0.05", "unsure_rate=0.2"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures["libraries"]) == {"all", "fused", "plate", "vehicle"}
    assert figures["look_ups"] == 8  # two vehicles of each of two sites, two queries each
    assert figures["decided_by"] == "all"  # four vehicles are too few for a sum of evidence
    assert (figures["queries"], sum(figures["strangers"].values())) == (8, pytest.approx(1, abs=1e-3))
    assert figures["right"] == figures["libraries"]["all"]["closed"]["right"]
    for row in figures["libraries"].values():
        for shares in row.values():
            assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
        assert row["open"]["right"] == 0
    with pytest.raises(SettingsError, match="run=RUN_FOLDER is missing"):
        identify.main(words[1:])
