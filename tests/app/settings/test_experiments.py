"""Experiments and groups of settings: each is composed and can be built."""

from pathlib import Path

import pytest
import yaml

import conf
from app.data.dataset import open_source
from app.settings.load import SettingsError, load_settings
from app.tasks import make_task

CONF = Path(conf.__file__).parent
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def test_there_are_experiments():
    assert "quickstart" in EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_composed_and_its_network_built(name):
    """With random values where weights would have to be downloaded or their file is not there."""
    words = [f"experiment={name}"]
    settings = load_settings(words)
    dual = settings.task == "dual_reid"
    for key in ("model.vehicle", "model.plate") if dual else ("model",):
        chosen = settings.model if key == "model" else getattr(settings.model, key.split(".")[1])
        if chosen is not None and (chosen.weights is True or (chosen.weights and not chosen.weights.is_file())):
            words.append(f"{key}.pretrained=false")
    settings = load_settings(words)
    assert settings.name == name
    network = make_task(settings).build(3, settings.seed)
    if dual:
        assert (network.plate is None) == (settings.model.plate is None)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_file_opens_with_its_command_and_sets_no_key_twice(name):
    text = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"experiment={name}" in "\n".join(text.splitlines()[:6])
    assert yaml.safe_load(text)["name"] == name


@pytest.mark.parametrize(
    ("group", "name"),
    sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name != "experiment"),
)
def test_every_choice_of_every_group_is_composed(group, name):
    words = [f"{group}={name}", "data.root=/somewhere"]
    experiments = {"two": "roadscene", "cross": "roadscene", "plate": "plates_countries", "text": "plates_countries"}
    if group in ("model", "loss") and (experiment := experiments.get(name.split("_")[0])):  # of another task
        words.insert(0, f"experiment={experiment}")
    assert load_settings(words).data.root == "/somewhere"


@pytest.mark.parametrize(("data", "experiment"), [("two_cam", "two_cam"), ("plates_countries", "plates_made")])
def test_a_shared_data_set_has_its_folder_from_its_experiment_alone(data, experiment):
    said = f"data.root=FOLDER is missing: the images of '{data}'; experiment={experiment} sets it"
    with pytest.raises(SettingsError, match=f"^{said}$"):
        open_source(load_settings([f"data={data}"]).data, 0)
    assert load_settings([f"experiment={experiment}"]).data.root.startswith("../shared/data")
    assert load_settings([f"experiment={experiment}", "data=veri776"]).data.root == "data/veri776"
    for path in (CONF / "data").glob("*.yaml"):
        assert "../shared" not in path.read_text(encoding="utf-8"), path.name
