"""Settings that name plug-ins: checked without an import, and used by the parts that need them."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from plug_ins import EXAMPLE, install, packages  # noqa: F401 - a fixture

from app.core.sample import Sample
from app.data.partition import partition
from app.data.readers.reader import open_reader
from app.settings.checks import SettingsError
from app.settings.load import load_settings, settings_from
from app.settings.stored import with_overrides
from app.settings.tasks import task_modules
from app.tasks import make_task
from models import plugins
from models.backbone import build_backbone
from models.errors import NetworkError
from models.losses import build_classification_loss, build_metric_loss
from models.plugins import PlugInError

LOSSES = """
from torch import nn
class Far(nn.Module):
    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin
    def forward(self, embeddings, labels):
        return self.margin * embeddings.sum()
class Bare(nn.Module):
    def forward(self, scores, labels):
        return scores.sum()
def function(**options):
    return 3
"""
NET = """
from timm.models import create_model, register_model
@register_model
def narrow_net_of_a_test(pretrained=False, **kwargs):
    return create_model("test_efficientnet", **kwargs)
def unregistered(pretrained=False, **kwargs):
    return None
"""
SMALL = ["model.vehicle.backbone=test_efficientnet", "model.vehicle.image_size=32", "model.plate=null", "device=cpu"]


@pytest.fixture
def example(packages, monkeypatch):  # noqa: F811
    """The repository of docs/examples, as if installed."""
    monkeypatch.syspath_prepend(EXAMPLE)
    install(
        packages,
        "example-plugin",
        {
            "readers": {"folders": "example_plugin.folders:Folders"},
            "losses": {"multi_similarity": "example_plugin.multi_similarity:MultiSimilarityLoss"},
        },
    )
    yield
    for name in [name for name in sys.modules if name.startswith("example_plugin")]:
        del sys.modules[name]


def test_a_loss_by_its_place_is_built_with_its_options(packages):  # noqa: F811
    install(packages, "mine", {}, mine_losses=LOSSES)
    words = ["loss.metric=mine_losses:Far", "loss.metric_options={margin: 2.5}"]
    settings = load_settings([*SMALL, *words])
    assert "mine_losses" not in sys.modules
    assert make_task(settings).metric.margin == 2.5


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("loss.metric=tripplet", "one of .*, or a plug-in of an installed package; .*; did you mean triplet"),
        ("loss.metric_options={margin: 1}", "loss.metric_options are for a plug-in; triplet has keys of its own"),
        ("loss.metric_options={checkpoint_path: x}", "loss.metric_options must not hold checkpoint_path"),
        ("data.partition.by=sites", "data.partition.by must be one of .*; did you mean site"),
        ("task=dual", "task must be one of dual_reid"),
    ],
)  # fmt: skip
def test_a_name_of_nothing_is_refused(word, message):
    with pytest.raises(SettingsError, match=message):
        load_settings([word])


def test_a_declared_loss_with_the_name_of_a_built_in_one_is_refused_where_it_is_named(packages):  # noqa: F811
    install(packages, "mine", {"losses": {"quadruplet": "mine_losses:Far"}})
    load_settings([])
    with pytest.raises(SettingsError, match="quadruplet is built in, and mine declares another of this name"):
        load_settings(["loss.metric=quadruplet"])


@pytest.mark.parametrize(
    ("build", "name", "options", "message"),
    [
        (build_metric_loss, "mine_losses:Far", {"radius": 2}, "Far cannot be made with {'radius': 2}: .*radius"),
        (build_metric_loss, "mine_losses:function", {}, "mine_losses:function is no class of torch.nn.Module"),
        (build_classification_loss, "mine_losses:Bare", {}, "mine_losses:Bare has no classifier_kind, scale"),
    ],
)  # fmt: skip
def test_a_loss_without_its_contract_is_named(packages, build, name, options, message):  # noqa: F811
    install(packages, "mine", {}, mine_losses=LOSSES)
    with pytest.raises(PlugInError, match=message):
        build(name, **options)


def test_a_backbone_is_registered_with_timm(packages):  # noqa: F811
    install(packages, "mine", {"backbones": {"narrow": "mine_nets:narrow_net_of_a_test"}}, mine_nets=NET)
    for name in ("mine_nets:narrow_net_of_a_test", "narrow"):
        assert build_backbone(name)(torch.zeros(2, 3, 64, 64)).shape[0] == 2
    with pytest.raises(PlugInError, match="unregistered is not registered with timm: decorate it"):
        build_backbone("mine_nets:unregistered")
    with pytest.raises(NetworkError, match="unknown backbone 'resnet5'"):
        build_backbone("resnet5")


def test_a_partitioner_that_loses_an_image_is_refused(packages):  # noqa: F811
    text = "def odd(samples, *, num_clients, **_):\n    return [samples[i::num_clients] for i in range(num_clients)]\n"
    text += "def half(samples, **_):\n    return [samples[:1], samples[2:]]\n"
    install(packages, "mine", {}, mine_parts=text)
    samples = [Sample(Path(f"{n}.jpg"), n, 0) for n in range(5)]
    parts = partition(samples, by="mine_parts:odd", num_clients=2, alpha=1.0, seed=0)
    assert [[s.pid for s in part] for part in parts] == [[0, 2, 4], [1, 3]]
    with pytest.raises(PlugInError, match="mine_parts:half must give 2 parts, with each image in exactly one"):
        partition(samples, by="mine_parts:half", num_clients=2, alpha=1.0, seed=0)


def test_a_task_is_a_pair_of_modules_with_their_contract(packages):  # noqa: F811
    text = "from app.settings.tasks import TaskModules\nTASK = TaskModules('app.settings.dual', 'app.tasks.dual')\n"
    text += "HALF = TaskModules('app.settings.ranking', 'app.tasks.dual')\nNONE = 3\n"
    install(packages, "mine", {"tasks": {"own_dual": "mine_tasks:TASK"}}, mine_tasks=text)
    settings = load_settings([*SMALL, "task=own_dual"])
    assert make_task(settings).name == "dual_reid"
    assert settings.measures[0] == "mAP"
    with pytest.raises(
        PlugInError, match=r"app\.settings\.ranking has no ModelSettings, LossSettings, MEASURES, EMBEDS"
    ):
        task_modules("mine_tasks:HALF")
    with pytest.raises(PlugInError, match=r"mine_tasks:NONE must be a TaskModules of app\.settings\.tasks; got int"):
        task_modules("mine_tasks:NONE")


@pytest.mark.usefixtures("example")
def test_the_example_reads_folders(tmp_path):
    for split, vehicle, name in itertools.product(("train", "test"), "ab", ("0_x.png", "1_y.png")):
        (tmp_path / split / vehicle).mkdir(parents=True, exist_ok=True)
        (tmp_path / split / vehicle / name).touch()
    reader = open_reader("folders", tmp_path, seed=0)
    assert [(s.path.name, s.pid, s.camid) for s in reader.train()] == [
        ("0_x.png", 0, 0), ("1_y.png", 0, 1), ("0_x.png", 1, 0), ("1_y.png", 1, 1)
    ]  # fmt: skip
    (direction,) = reader.evaluation("test")
    assert not {s.pid for s in direction.query} & {s.pid for s in reader.train()}
    (tmp_path / "train" / "a" / "noon.png").touch()
    with pytest.raises(ValueError, match=r"noon\.png: the name must begin with the number of the camera"):
        reader.train()


@pytest.mark.usefixtures("example")
def test_the_example_has_the_multi_similarity_loss_of_the_paper():
    """Against Eq. 15 by loops in float64; 1e-4 for sums of exponentials in float32."""
    draw = np.random.default_rng(3)
    embeddings, labels = draw.normal(size=(8, 5)), np.array([0, 0, 1, 1, 1, 2, 3, 3])
    pull, push, base = 2.0, 8.0, 0.3
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    losses = []
    for i in range(8):
        matches = [unit[i] @ unit[j] for j in range(8) if j != i and labels[j] == labels[i]]
        others = [unit[i] @ unit[j] for j in range(8) if labels[j] != labels[i]]
        if matches:
            far = np.log1p(sum(np.exp(-pull * (s - base)) for s in matches)) / pull
            near = np.log1p(sum(np.exp(push * (s - base)) for s in others)) / push
            losses.append(far + near)
    loss = build_metric_loss("multi_similarity", pull=pull, push=push, base=base)
    found = loss(torch.tensor(embeddings, requires_grad=True), torch.tensor(labels))
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert loss(torch.zeros(2, 3), torch.tensor([0, 1])).item() == 0
    with pytest.raises(PlugInError, match="pull and push must be above 0"):
        build_metric_loss("multi_similarity", pull=0.0)


@pytest.mark.usefixtures("example")
def test_an_experiment_of_the_example_is_on_the_search_path():
    words = ["hydra.searchpath=[pkg://example_plugin.conf]", "experiment=folders", "data.root=/nowhere"]
    settings = load_settings(words)
    assert (settings.data.reader, settings.loss.metric, settings.loss.metric_options["push"]) == (
        "folders",
        "multi_similarity",
        40.0,
    )


@pytest.mark.parametrize("key", ["loss.metric", "data.reader", "data.partition.by", "model.vehicle.backbone", "task"])
def test_a_stored_file_imports_nothing_that_no_package_declares(packages, key):  # noqa: F811
    install(packages, "mine", {}, spy="from pathlib import Path\nPath(__file__).with_name('opened').touch()\nX = 1\n")
    raw = load_settings(SMALL).as_dict()
    *sections, last = key.split(".")
    place = raw
    for section in sections:
        place = place[section]
    place[last] = "spy:X"
    for read in (settings_from, lambda kept: with_overrides(kept, ["device=cpu"])):
        with pytest.raises(SettingsError, match=f"{key}=spy:X: a plug-in that no installed package declares"):
            read(raw)
    assert not (packages / "opened").exists()


def test_a_stored_place_is_used_where_it_is_declared_or_repeated(packages):  # noqa: F811
    install(packages, "mine", {}, mine_losses=LOSSES)
    raw = load_settings([*SMALL, "loss.metric=mine_losses:Far"]).as_dict()
    assert with_overrides(raw, ["loss.metric=mine_losses:Far"]).loss.metric == "mine_losses:Far"
    install(packages, "yours", {"losses": {"far": "mine_losses:Far"}})
    assert settings_from(raw).loss.metric == "mine_losses:Far"


def test_a_checkpoint_without_its_plug_in_says_which(packages):  # noqa: F811
    install(packages, "mine", {"losses": {"far": "mine_losses:Far"}}, mine_losses=LOSSES)
    raw = load_settings([*SMALL, "loss.metric=far"]).as_dict()
    (packages / "mine-1.0.dist-info" / "entry_points.txt").write_text("")
    plugins._declared.cache_clear()
    with pytest.raises(SettingsError, match=r"or a plug-in of an installed package; got 'far'"):
        settings_from(raw)


@pytest.mark.parametrize(("place", "named"), [("file:///nowhere", "/nowhere"), ("pkg://no.such", "no.such")])
def test_a_search_path_that_is_not_there_is_named(place, named):
    with pytest.raises(
        SettingsError, match=rf"^hydra\.searchpath names '{named}', where there is no folder or package$"
    ):
        load_settings([f"hydra.searchpath=[{place}]"])


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("privacy.dp.delta=0", "privacy.dp.delta must be at least 1e-12; got 0"),
        ("train.epochs=-8", "train.epochs must be at least 0.000001; got -8"),
    ],
)
def test_small_limits_are_shown_as_numbers(word, named):
    with pytest.raises(SettingsError) as caught:
        load_settings([word])
    assert str(caught.value) == named
