"""Settings: what is wrong stops at the start and is named."""

import io
import os
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

import conf
from app.data.dataset import open_source
from app.settings.federation import FederationSettings
from app.settings.load import SettingsError, load_settings, settings_from, startable
from app.settings.sections import EvaluationSettings, TrainSettings
from app.settings.synthetic import SyntheticSettings
from app.settings.tasks import TASKS

CONF = Path(conf.__file__).parent


@pytest.fixture(scope="module")
def plain():
    return load_settings().as_dict()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.learning_rate=0.1", "unknown key train.learning_rate"),
        ("train.augment.blurr=0.1", "unknown key train.augment.blurr"),
        ("model.vehicle.backbones=resnet18", "unknown key model.vehicle.backbones"),
        ("model.plate.size=3", "unknown key model.plate.size"),
        ("loss.triplets=1", "unknown key loss.triplets"),
        ("federation.server_optimiser.beta3=0.1", "unknown key federation.server_optimiser.beta3"),
        ("sead=1", "sead"),
        ("train.lr=fast", "train.lr"),
        ("train.lr='0.1'", "train.lr"),
        ("federation.rounds=2.5", "federation.rounds"),
        ("federation.rounds=true", "federation.rounds"),
        ("federation.private=classifier", "federation.private"),
        ("data.cache_mb=null", "data.cache_mb"),
        ("seed=one", "seed must be of type int"),
        ("seed=true", "seed must be of type int"),
        ("seed=-1", "seed must be at least 0"),
        ("train.lr=-1", "train.lr must be at least 0"),
        ("train.lr=nan", "train.lr"),
        ("train.augment.flip=1.5", "train.augment.flip must be at most 1; got 1.5"),
        ("train.schedule=steps", "train.schedule=steps needs train.steps"),
        ("train.steps=[0.5,0.3]", "train.steps must ascend from train.warm_up; got 0.3 after 0.5"),
        ("train.optimiser=lamb", "train.optimiser must be one of adamw, adam, sgd; got 'lamb'"),
        ("train.pids_per_batch=0", "train.pids_per_batch must be at least 2"),
        ("federation.quorum=0", "federation.quorum"),
        ("federation.quorum=1.1", "federation.quorum"),
        ("federation.num_clients=0", "federation.num_clients"),
        ("federation.server_optimiser.name=adagrad", "federation.server_optimiser.name"),
        ("federation.server_optimiser.beta1=1.0", "federation.server_optimiser.beta1"),
        ("privacy.cipher=rot13", "privacy.cipher"),
        ("evaluation.compare=[local]", "evaluation.compare"),
        ("data.partition.by=colour", "data.partition.by"),
        ("data.partition.alpha=0", "data.partition.alpha"),
        ("loss.metric=quintuplet", "loss.metric"),
        ("model.pooling=max", "model.pooling"),
        ("task=segmentation", "task must be one of dual_reid"),
        ("data=nowhere", "nowhere"),
        ("experiment=null", "experiment=null: experiment is a name; known: ccpd2020, convnext_tiny, dual_plates"),
        ("model=5", "model=5: model is a name; known: "),
        ("personalise=True", "personalise=True: personalise is a name; known: off, on"),
        ("train.lr", "train.lr"),
    ],
)
def test_what_is_wrong_is_named(override, named):
    with pytest.raises(SettingsError) as caught:
        load_settings([override])
    assert named in str(caught.value)


@pytest.mark.parametrize("name", ["/tmp/x", "../../x", "..", ".", "", " ", "a\0b", "a\nb", "x" * 300, "a\\b", "\ud800"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    kept = settings_from({**load_settings().as_dict(), "name": name})  # a checkpoint of another may be read
    with pytest.raises(SettingsError, match="name becomes the name of a folder"):
        startable(kept)
    assert startable(replace(kept, name="park 7, night")).name == "park 7, night"


@pytest.mark.parametrize("letter", ["\u00e9", "\u5317", "\U0001f697"])
def test_a_name_is_bounded_by_its_bytes(letter, tmp_path):
    """File systems count bytes of UTF-8: a name that is taken makes a folder, also of a baseline."""
    kept = settings_from({**load_settings().as_dict()})
    longest = letter * min(100, 240 // len(letter.encode()))
    startable(replace(kept, name=longest))
    (tmp_path / f"{longest}-central").mkdir()
    with pytest.raises(SettingsError, match=r"at most 240 bytes in UTF-8.* characters, \d+ bytes$"):
        startable(replace(kept, name=letter * (len(longest) + 1)))


def test_the_name_is_checked_at_the_start():
    with pytest.raises(SettingsError, match="name becomes the name of a folder"):
        load_settings(["name=../../x"])


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("train.epoch=3", "train.epochs"),
        ("Train.Epochs=3", "train.epochs"),
        ("data.epochs=3", "train.epochs"),  # of another section
        ("epochs=3", "train.epochs"),  # of none
        ("trian.epochs=3", "train.epochs"),
        ("sead=1", "seed"),
        ("experimnt=two_cam", "experiment"),
        ("dta=two_cam", "data"),
        ("experiment=quikstart", "quickstart"),
        ("data=two_cm", "two_cam"),
        ("privacy=khae", "kahe"),
        ("train.augment.blurr=0.1", "train.augment.blur"),
        ("federation.server_optimizer.name=adam", "federation.server_optimiser"),
        ("privacy.dp.noise=1", "privacy.dp.noise_multiplier"),
        ("model.vehicle.backbones=x", "model.vehicle.backbone"),
        ("train.optimiser=AdamW", "adamw"),
        ("task=plate-text", "plate_text"),
        ("data.partition.by=cameras", "camera"),
    ],
)
def test_the_nearest_key_or_value_is_named(override, meant):
    with pytest.raises(SettingsError) as caught:
        load_settings([override])
    assert str(caught.value).endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize("override", ["train.nonsense=3", "qqqq=1", "experiment=zzzz", "train.optimiser=lion"])
def test_what_is_like_nothing_gets_no_hint(override):
    with pytest.raises(SettingsError) as caught:
        load_settings([override])
    assert "did you mean" not in str(caught.value)


def test_the_error_that_the_reference_shows():
    with pytest.raises(SettingsError) as caught:
        load_settings(["train.epoch=3"])
    assert f"\nerror: {caught.value}\n" in (CONF.parent / "docs/reference.md").read_text(encoding="utf-8")


def test_data_alone_brings_nothing_of_an_experiment():
    own, quickstart = load_settings("data=manifest data.root=x"), load_settings("experiment=quickstart")
    assert own.name == "run"
    assert replace(own.train, lr=0.0) == TrainSettings(lr=0.0)
    assert own.federation == FederationSettings()
    assert own.evaluation == EvaluationSettings()
    assert own.data.synthetic == SyntheticSettings()
    assert own.train.lr != quickstart.train.lr
    assert load_settings("experiment=quickstart ~experiment") == load_settings()


def test_a_bare_run_of_flower_is_the_quickstart():
    project = tomllib.loads((CONF.parent / "pyproject.toml").read_text(encoding="utf-8"))
    overrides = project["tool"]["flwr"]["app"]["config"]["overrides"]
    assert load_settings(overrides) == load_settings("experiment=quickstart")


def test_settings_come_back_from_a_checkpoint(plain):
    assert settings_from(plain) == load_settings()
    with pytest.raises(SettingsError, match="unknown key 'colour'"):
        settings_from({**plain, "colour": "red"})
    with pytest.raises(SettingsError, match="name must be of type str"):
        settings_from({key: value for key, value in plain.items() if key != "name"})


def test_one_string_and_a_list_of_overrides_are_the_same():
    settings = load_settings(
        '\'name="two words"\' train.lr=0.5 \'federation.private=["*classifier*","vehicle.neck.*"]\''
    )
    assert settings.name == "two words"
    assert settings.federation.private == ["*classifier*", "vehicle.neck.*"]
    assert settings == load_settings(
        ["name='two words'", "train.lr=0.5", 'federation.private=["*classifier*","vehicle.neck.*"]']
    )


@pytest.mark.parametrize("value", ["true", "false", "weights/model.safetensors"])
def test_pretrained_is_a_truth_value_or_a_file(value):
    found = load_settings([f"model.vehicle.pretrained={value}"]).model.vehicle.weights
    assert found == {"true": True, "false": False}.get(value, Path(value))


@pytest.mark.parametrize(
    ("experiment", "headline", "embeds"),
    [("quickstart", "mAP", True), ("roadscene", "mAP", True), ("plates_made", "accuracy", False)],
)
def test_measures_stand_with_the_settings_of_the_task(experiment, headline, embeds):
    settings = load_settings([f"experiment={experiment}"])
    assert settings.measures == sys.modules[type(settings.model).__module__].MEASURES
    assert (settings.measures[0], TASKS[settings.task].embeds) == (headline, embeds)


def test_a_missing_folder_and_an_unknown_reader_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.root not found: .*nowhere"):
        open_source(load_settings(["data=manifest", f"data.root={tmp_path}/nowhere"]).data, 0)
    with pytest.raises(SettingsError, match=r"data\.root=FOLDER is missing: the images of 'manifest'$"):
        open_source(load_settings(["data=manifest"]).data, 0)
    with pytest.raises(SettingsError, match="unknown data set 'imagenet'"):
        open_source(load_settings(["data.reader=imagenet", f"data.root={tmp_path}"]).data, 0)
    with pytest.raises(SettingsError, match=r"unknown data set 'very776'; known: .*; did you mean veri776\?"):
        open_source(load_settings(["data.reader=very776", f"data.root={tmp_path}"]).data, 0)


@pytest.mark.parametrize(
    "words",
    [
        "model.vehicle.pretrained=@ data.equalise.model=@ data.root=@ data.cache_dir=@ data.equalise.folder=@",
        "experiment=synthetic_night loss.perceptual_weights=@ model.pretrained=@",
        "experiment=plates_made model.start=@ model.pretrained=@",
    ],
)
def test_no_setting_accesses_a_file(words, monkeypatch):
    """The same settings are composed at a site, where an error would tell a run what is there."""
    asked = []

    def spy(function):
        def call(path, *args, **options):
            if "secret-place" in str(path):
                asked.append(path)
            return function(path, *args, **options)

        return call

    for name in ("stat", "lstat", "open", "scandir", "readlink", "access"):
        monkeypatch.setattr(os, name, spy(getattr(os, name)))
    monkeypatch.setattr(io, "open", spy(io.open))
    load_settings(words.replace("@", "/secret-place/file"))
    load_settings(words.replace("@", "~nobody-9/secret-place"))
    assert asked == []


def test_options_of_a_model_open_no_file():
    for options in ("{checkpoint_path:/etc/passwd}", "{pretrained_cfg_overlay:{file:x}}", "{cache_dir:here}"):
        with pytest.raises(SettingsError, match=r"may name a file or an address; .*pretrained takes a weights file"):
            load_settings(f"model.vehicle.options={options}")


@pytest.mark.parametrize("key_id", ["1234567890123456", "1234567890e12345", "00000000000000ab"])
def test_a_key_id_of_digits_stays_text(key_id):
    assert load_settings(["experiment=quickstart", f'privacy.key_id="{key_id}"']).privacy.key_id == key_id
