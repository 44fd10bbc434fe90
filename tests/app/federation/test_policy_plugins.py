"""Plug-ins that a run names at a site: none is imported unless the site's policy lists it."""

import sys

import pytest
from plug_ins import install, packages  # noqa: F401 - a fixture
from policed_site import policed_run, policed_site, policy_file  # noqa: F401 - fixtures

from app.federation.refusals import PolicyError
from app.settings.checks import SettingsError

OPENED = """
from pathlib import Path
Path(__file__).with_name("opened").touch()
from torch import nn
class Loss(nn.Module):
    classifier_kind, scale = "linear", 1.0
    def forward(self, embeddings, labels):
        return embeddings.sum()
TASK = net = None
"""
WORDS = [
    "loss.metric=spy:Loss",
    "loss.metric=spied",
    "++loss.metric='spy:Loss'",
    "loss={metric:spy:Loss}",
    "loss.classification=spy:Loss",
    "model.vehicle.backbone=spy:net",
    "task=spy:TASK",
    "device=spy:Loss",
]


@pytest.fixture
def spy(packages):  # noqa: F811
    """A package whose import leaves a file behind."""
    install(packages, "spy", {"losses": {"spied": "spy:Loss"}}, spy=OPENED)
    return packages / "opened"


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("policy", ["", None])
def test_a_plug_in_of_a_run_is_refused_before_it_is_imported(policed_site, policed_run, spy, word, policy):  # noqa: F811
    node = {} if policy == "" else {"policy": None}
    with pytest.raises(PolicyError if policy == "" else SettingsError, match="plugins"):
        policed_site(f"{policed_run} {word}", **node)
    assert not spy.exists()
    assert "spy" not in sys.modules


def test_one_that_the_site_lists_is_used_under_the_listed_name_alone(policed_site, policed_run, spy):  # noqa: F811
    allowed = ("plugins = []", 'plugins = ["spy:Loss"]')
    with pytest.raises(PolicyError, match="plugins"):
        policed_site(f"{policed_run} loss.metric=spied", allowed)
    assert policed_site(f"{policed_run} loss.metric=spy:Loss", allowed).settings.loss.metric == "spy:Loss"
    assert spy.exists()


@pytest.mark.parametrize("word", ["loss.metric_options={checkpoint_path:here}", "loss.metric_options.path=here"])
def test_options_of_a_plug_in_name_no_file(policed_site, policed_run, spy, word):  # noqa: F811
    with pytest.raises(PolicyError, match=r"files\.weights"):
        policed_site(f"{policed_run} {word} loss.metric=spy:Loss", ("plugins = []", 'plugins = ["spy:Loss"]'))
    assert not spy.exists()


@pytest.mark.parametrize("policy", ["", None])
def test_a_site_reads_its_own_images_by_a_plug_in_whatever_a_run_names(policed_site, policed_run, spy, policy):  # noqa: F811
    node = {"data": "app.data.readers.manifest:Manifest", **({} if policy == "" else {"policy": None})}
    data = policed_site(f"{policed_run} data.reader=spy:Loss", **node).settings.data
    assert data.reader == "app.data.readers.manifest:Manifest"
    assert not spy.exists()
