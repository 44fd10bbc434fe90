"""Size of the network that a run asks for: bounded by the site's policy before anything is allocated."""

import resource
from pathlib import Path

import pytest

from app.federation.network_size import network_size
from app.federation.refusals import PolicyError
from app.federation.site_policy import SitePolicy
from app.settings.load import load_settings
from app.tasks import cross_modal, dual, make_task, plate_text


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("model.embedding_dim=4097", "embedding_dim"),
        ("model.embedding_dim=2147483647", "embedding_dim"),
        ("model.vehicle.backbone=resnet50 +model.vehicle.options.channels=[2000,4000,4096,4096]", "network_mb"),
        ("model.vehicle.backbone=resnet50 +model.vehicle.options.base_width=1000000", "network_mb"),
        ("model.vehicle.backbone=resnet50 +model.vehicle.options.layers=[3,4,1000000000,3]", "network_mb"),
        ("model.vehicle.backbone=resnet50 +model.vehicle.options.channels=[]", "network_mb"),  # timm stumbles
        ("model.vehicle.backbone=resnet50 model.vehicle.image_size=4096", "activations_mb"),
        (
            "model.vehicle.backbone=resnet50 model.vehicle.image_size=448 train.batch_size=1024",
            "activations_mb",
        ),
        ("model.vehicle.image_size=4096 evaluation.batch_size=1024", "activations_mb"),
    ],
)
def test_a_network_that_would_fill_the_machine_is_refused(policed_site, policed_run, words, key):
    with pytest.raises(PolicyError, match=rf"\(resources\.{key}\)"):
        policed_site(f"{policed_run} {words}")


def test_a_large_network_is_refused_before_it_is_allocated(policed_site, policed_run, monkeypatch):
    def build(*_, **__):
        raise AssertionError("a network is being built")

    for task in (dual.DualReid, plate_text.PlateText, cross_modal.CrossModalReid):
        monkeypatch.setattr(task, "__init__", build)
    words = "model.vehicle.backbone=resnet50 +model.vehicle.options.channels=[2000,4000,4096,4096]"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PolicyError, match=r"\(resources\.network_mb\)"):
        policed_site(f"{policed_run} {words}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB; the network has 1.5 GiB


@pytest.mark.parametrize("grid", [2, 4])
def test_cells_count_in_the_length_of_an_embedding(policy_file, grid, caplog):
    policy = SitePolicy.read("north", policy_file())
    settings = load_settings(["experiment=roadscene", "data.root=x", f"model.grid={grid}"])
    with pytest.raises(PolicyError, match=r"\(resources\.embedding_dim\)"):
        policy._check_sizes(settings)
    assert f"the run asks for {1280 * grid**2:,}, at most" in caplog.text


def test_options_are_checked_before_cells_are_measured(policy_file, monkeypatch):
    def build(*_, **__):
        raise AssertionError("a network is being built")

    monkeypatch.setattr("app.federation.network_size.build_backbone", build)
    words = ["experiment=roadscene", "data.root=x", "model.backbone=resnet50", "model.grid=2"]
    settings = load_settings([*words, "+model.options.layers=[3,4,1000000000,3]"])
    with pytest.raises(PolicyError, match=r"\(resources\.network_mb\)"):
        SitePolicy.read("north", policy_file())._check_sizes(settings)


@pytest.mark.slow
def test_cells_count_in_the_size_of_a_network():
    one, four = (
        network_size(
            load_settings(["experiment=roadscene", "data.root=x", "model.embedding_dim=512", f"model.grid={grid}"])
        )
        for grid in (1, 4)
    )
    assert four.parameters - one.parameters == pytest.approx(15 * 1280 * 512 * 4 / 2**20)  # rows of the reduction


@pytest.mark.parametrize("name", sorted(path.stem for path in Path("conf/experiment").glob("*.yaml")))
def test_every_experiment_is_within_the_policy_of_init(name, policy_file):
    """Its network and batches; its cipher is the site's choice."""
    policy = SitePolicy.read("north", policy_file())
    settings = load_settings([f"experiment={name}", "data.root=x"])
    policy._check_sizes(settings)
    assert network_size(settings).parameters * 3 < policy.policy.resources.network_mb


def test_the_size_of_a_network_is_that_of_the_network():
    """Parameters of the network itself, without its classifier and what is small."""
    settings = load_settings(["experiment=veri776", "data.root=x", "model.embedding_dim=512"])
    network = make_task(settings).build(2, 0, pretrained=False)
    held = sum(value.numel() for name, value in network.named_parameters() if "classifier" not in name)
    assert network_size(settings).parameters == pytest.approx(held * 4 / 2**20, rel=0.01)
