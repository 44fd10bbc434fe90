"""Evaluation of a checkpoint in weather: one kind, a table of several, and wrong words."""

import json

import pytest

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.data.dataset import Source
from app.experiment.weather import kinds_of, weather_rows, weather_table
from app.settings.load import SettingsError, load_settings
from app.settings.stored import with_overrides
from app.settings.weather import WEATHERS
from app.tasks import make_task
from app.training.checkpoint import save_checkpoint
from scripts import evaluate


@pytest.fixture(scope="module")
def run_of_nothing(tmp_path_factory, base_overrides):
    """A checkpoint of a network that was not trained, and no embedding of which is like another's."""
    folder = RunFolder(tmp_path_factory.mktemp("weather") / "run")
    settings = load_settings(base_overrides)
    task = make_task(settings)
    folder.write_settings(settings.as_dict())
    save_checkpoint(folder, "global", float_arrays(task.build(1, 0)), settings, task)
    folder.close()
    return folder.path


def measured(capsys, *words):
    evaluate.main(list(words))
    *table, line = capsys.readouterr().out.strip().splitlines()
    return table, json.loads(line)


def test_a_table_of_all_kinds_has_the_figures_of_each_alone(run_of_nothing, capsys):
    run = f"run={run_of_nothing}"
    table, found = measured(capsys, run, "weather=all")
    assert [line.split()[0] for line in table] == ["weather", "none", *WEATHERS]
    assert list(found["by_weather"]) == list(WEATHERS)
    _, plain = measured(capsys, run)
    assert not {"weather", "by_weather"} & plain.keys()
    assert "weather" not in found
    assert {name: found[name] for name in ("mAP", "rank1", "queries")} == {
        name: plain[name] for name in ("mAP", "rank1", "queries")
    }
    _, fog = measured(capsys, run, "data.weather=fog")
    assert fog["weather"] == "fog"
    assert fog["mAP"] == found["by_weather"]["fog"]["mAP"]
    assert fog["mAP"] != plain["mAP"]


def test_a_checkpoint_keeps_no_weather(base_overrides):
    """A register is calibrated, and another split measured, on images as they are."""
    rainy = load_settings(f"{base_overrides} data.weather=rain").as_dict()
    assert with_overrides(rainy, ["data.eval_split=val"]).data.weather == "none"
    assert with_overrides(rainy, ["data.eval_split=val", "data.weather=fog"]).data.weather == "fog"
    assert rainy["data"]["weather"] == "rain"


def test_some_kinds_in_the_order_given(run_of_nothing, capsys):
    table, found = measured(capsys, f"run={run_of_nothing}", "weather=glare,rain")
    assert [line.split()[0] for line in table] == ["weather", "none", "glare", "rain"]
    assert list(found["by_weather"]) == ["glare", "rain"]


def test_the_table_has_the_difference_to_the_images_as_they_are():
    rows = {"none": {"mAP": 0.8, "rank1": 0.7}, "fog": {"mAP": 0.5, "rank1": 0.4}}
    assert weather_table(rows, ("mAP", "rank1", "rank5")).splitlines() == [
        "weather       mAP    rank1  difference",
        "none        80.00    70.00",
        "fog         50.00    40.00      -30.00",
    ]


@pytest.mark.parametrize(
    ("word", "others", "message"),
    [
        ("snow", [], "weather must be one of all, rain, night, fog, blur, glare; got 'snow'"),
        ("fog,", [], "weather must be one of .*; got ''"),
        ("rain,all", [], "weather=all has every kind and is given alone; got 'rain,all'"),
        ("all,rain", [], "is given alone"),
        ("all", ["data.weather=fog"], "give one of the two"),
    ],
)
def test_wrong_words(word, others, message):
    with pytest.raises(SettingsError, match=message):
        kinds_of(word, others)


def test_a_table_is_refused_where_one_kind_is(monkeypatch):
    """Queries and gallery of a plate reader are the same plates: in two kinds of weather each would count twice."""
    settings = load_settings("experiment=plates_countries data.root=.")
    monkeypatch.setattr("app.experiment.weather.measure", pytest.fail)
    with pytest.raises(SettingsError, match=r"data\.weather=rain is of vehicles; task=plate_text has none"):
        weather_rows(settings, {}, Source(None, settings.data, 0), ["rain"], [])
