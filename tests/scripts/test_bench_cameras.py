"""Benchmark of cameras over a short video."""

import json

import pytest

from app.settings.checks import SettingsError
from scripts.bench import cameras

pytestmark = pytest.mark.slow


def test_a_vehicle_is_answered_and_timed(run_folder, capsys):
    cameras.main([f"run={run_folder}", "vehicles=1", "width=480"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["vehicles"], figures["queries"], figures["detector"]) == (1, 1, False)
    assert 0 < figures["median_seconds"] <= figures["slowest_seconds"]
    assert figures["frames"] == 50


def test_words_that_it_does_not_know_are_refused():
    for words, says in ((["vehicles=3"], "run=RUN_FOLDER is missing"), (["run=x", "a=b"], "unknown argument 'a=b'")):
        with pytest.raises(SettingsError, match=says):
            cameras.main(words)
