"""Private arrays: a task's heads never travel, and every pattern has to match something."""

import numpy as np
import pytest
import torch
from torch import nn

from app.core.arrays import float_arrays, home_patterns, private_patterns, require_patterns, shared_layout
from app.federation.layout import shared_part
from app.settings.checks import SettingsError
from app.settings.federation import FederationSettings
from app.settings.load import load_settings
from app.tasks import make_task
from scripts.simulate import check
from strategies import messages as m
from strategies.rounds import FederationError

TASKS = {
    "dual": "experiment=quickstart",
    "vehicle_alone": "experiment=quickstart model.plate=null",
    "hashed": "experiment=quickstart model.hashed=0.125",
    "margin": "experiment=quickstart loss=margin",
    "two_stream": "experiment=synthetic_night",
    "plates": "experiment=plates_made",
    "attention": "experiment=plates_made model.decoder=attention",
}


def depends_on_labels(task):
    """Arrays that have another shape for another number of labels, or are there for one number alone."""
    few, many = ({n: a.shape for n, a in float_arrays(task.build(c, 0, pretrained=False)).items()} for c in (2, 5))
    return {name for name in few.keys() | many.keys() if few.get(name) != many.get(name)}


@pytest.mark.parametrize("batch_norm", ["shared", "local"])
@pytest.mark.parametrize("private", [[], ["*bn*"], ["*classifier*"]])
@pytest.mark.parametrize("words", TASKS.values(), ids=TASKS.keys())
def test_what_stands_for_labels_is_never_shared(words, private, batch_norm):
    """Against the arrays that are seen to change with the number of labels."""
    task = make_task(load_settings(words))
    federation = FederationSettings(private=private, batch_norm=batch_norm)
    network = task.build(3, 0, pretrained=False)
    shared = set(shared_layout(network, federation, task.heads).names)
    by_label = depends_on_labels(task)
    assert not shared & by_label
    assert bool(by_label) == bool(task.heads)
    if private != ["*bn*"] and batch_norm == "shared":
        assert shared == float_arrays(network).keys() - by_label, "and nothing else stays at home"
    assert not set(shared_layout(network, federation).names) & by_label, "seen without the task's word, too"
    heads = home_patterns(network, FederationSettings(private=[]), task.heads)
    assert {name for name in float_arrays(network) if matches(name, heads)} == by_label


def test_a_tasks_own_word_for_its_heads_counts_where_no_classifier_is_seen():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    layout = shared_layout(network, FederationSettings(private=[]), ("1.*",))
    assert set(layout.names) == {"0.weight", "0.bias"}


def matches(name, patterns):
    return any(nn_name in name for nn_name in (pattern.strip("*") for pattern in patterns))


@pytest.mark.parametrize("batch_norm", ["shared", "local"])
def test_the_default_needs_no_classifier(batch_norm):
    settings = load_settings(f"experiment=plates_made federation.batch_norm={batch_norm}")
    assert settings.federation.private == ["*classifier*"]
    network = make_task(settings).build(2, 0, pretrained=False)
    require_patterns(network, settings.federation)
    assert shared_part(settings)[0] == shared_layout(network, settings.federation)


@pytest.mark.parametrize("pattern", ["*clasifier*", "[*bn*]", "vehicle.Neck.*", "*_stemm.*", "", " *classifier*"])
def test_a_pattern_that_matches_nothing_is_named_before_anything_starts(pattern, base_overrides):
    settings = load_settings(f'{base_overrides} \'federation.private=["*classifier*","{pattern}"]\'')
    assert settings.federation.private == ["*classifier*", pattern]
    for start in (check, shared_part):
        with pytest.raises(SettingsError, match=r"federation\.private: the pattern") as raised:
            start(settings)
        assert repr(pattern) in str(raised.value)


def test_a_near_name_is_shown():
    network = nn.ModuleDict({"classifier": nn.Linear(2, 2), "neck": nn.Linear(2, 2)})
    with pytest.raises(SettingsError, match=r"; there is classifier$"):
        require_patterns(network, FederationSettings(private=["*clasifier*"]))


def test_a_client_refuses_it_too(make_federation, monkeypatch):
    """A server that is not asked for patterns, as another version of it."""
    monkeypatch.setattr("app.core.arrays.require_patterns", lambda *_: None)
    federation = make_federation(changes="federation.private=[*clasifier*] federation.retries=0")
    with pytest.raises(FederationError, match=r"federation\.private: the pattern '\*clasifier\*' matches no array"):
        federation.run()


@pytest.mark.slow
@pytest.mark.parametrize("private", ["[]", "[*batch_norm*]"])
def test_a_run_without_the_word_shares_the_same_or_less(make_federation, uninterrupted, private):
    """With `[]` the classifier stays at home, trains there, and the run is the one of the default bit for bit."""
    changes = f"federation.rounds=4 train.head_lr_scale=1 federation.private={private}"
    federation = make_federation(changes=changes).run()
    for arrays in federation.held("private").values():
        assert "array/vehicle.classifier.weight" in arrays
    names = {record for message in federation.grid.received for record in message.content.array_records}
    assert names == {m.UPDATE}
    if private == "[]":
        assert federation.lines() == uninterrupted.lines()
        for client, arrays in federation.held("global").items():
            np.testing.assert_array_equal(arrays["vector"], uninterrupted.held("global")[client]["vector"])


def test_heads_learn_at_their_own_rate_whatever_the_patterns_are():
    """`head_lr_scale` is of heads, with and without local BatchNorm, which is no head."""
    task = make_task(load_settings(TASKS["dual"]))
    network = task.build(3, 0, pretrained=False)
    for federation in (FederationSettings(), FederationSettings(private=[], batch_norm="local")):
        patterns = home_patterns(network, federation, task.heads)
        assert {name for name in float_arrays(network) if matches(name, patterns)} == depends_on_labels(task)
    bn = private_patterns(network, FederationSettings(batch_norm="local"), task.heads)
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert {f"{name}.running_var" for name in norms} <= set(bn)
    assert torch.is_tensor(network.state_dict()[f"{norms[0]}.running_var"])
