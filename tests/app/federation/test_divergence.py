"""Divergence is named at its step, and no setting is infinite or no number."""

import dataclasses
import math
import re
from importlib import import_module
from typing import get_args, get_type_hints

import pytest
import torch
from torch import nn

from app.data.dataset import open_source
from app.settings.checks import SettingsError, require_finite
from app.settings.federation import FederationSettings
from app.settings.load import _SECTIONS, load_settings, settings_from
from app.settings.tasks import TASKS
from app.tasks import make_task
from app.training.trainer import TrainingError, _Watch, train
from strategies.rounds import FederationError


@pytest.fixture(scope="module")
def settings(base_overrides):
    return load_settings(base_overrides)


def run(settings, steps=6, **changes):
    task = make_task(settings)
    samples = open_source(settings.data, settings.seed).parts(2)[0]
    network = task.build(task.num_labels(samples), settings.seed)
    batches = task.batches(samples, 5)
    chosen = dataclasses.replace(settings.train, **changes)
    return train(
        task,
        network,
        batches,
        steps=(0, steps),
        total=steps,
        settings=chosen,
        data=settings.data,
        compute=task.compute,
        private=[],
    )


def test_a_gradient_that_is_not_finite_is_named_at_its_own_step(settings, monkeypatch):
    """The loss of step 2 is finite and its gradient is not: the network would be lost, and the loss tells in step 3."""
    seen = []
    clip = nn.utils.clip_grad_norm_

    def spoilt(parameters, largest):
        seen.append(len(seen))
        parameters[0].grad[...] = math.inf if len(seen) == 3 else parameters[0].grad
        return clip(parameters, largest)

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", spoilt)
    with pytest.raises(TrainingError, match=r"not finite at step 2: norm of the gradient inf \(steps 0 to 5, epoch"):
        run(settings, clip_norm=5.0)
    assert seen == [0, 1, 2]


def test_a_learning_rate_that_is_too_large_is_named_with_its_remedy(settings):
    with pytest.raises(TrainingError, match=r"diverged, not finite at step (\d): .*; lower train\.lr") as raised:
        run(settings, lr=1e25, warm_up=0.0, clip_norm=0.0, optimiser="sgd")
    assert 1e24 < float(re.search(r"learning rate ([\d.e+]+)", str(raised.value))[1]) <= 1e25
    assert int(re.search(r"at step (\d)", str(raised.value))[1]) <= 2


def test_a_network_that_the_last_step_broke_is_not_handed_on(settings):
    """One step: its loss and gradient are finite, and lr times gradient is beyond float32."""
    with pytest.raises(TrainingError, match=r"not finite at step 0: values of .* after it \(steps 0 to 0, epoch 1"):
        run(settings, steps=1, lr=3e38, warm_up=0.0, clip_norm=0.0, optimiser="sgd", final_lr=1.0)


def test_a_device_that_is_looked_at_now_and_then_still_names_the_first_step():
    watch = _Watch(40, 8)
    for step in range(16, 24):
        watch.note(step, 0.5, {"total": torch.tensor(math.nan if step >= 19 else 1.0), "metric": torch.tensor(2.0)})
    with pytest.raises(TrainingError, match=r"step 19: total nan, metric 2 \(steps 0 to 39, epoch 3, l"):
        watch.require_finite()


def test_a_federation_says_at_which_step_its_clients_diverged(make_federation):
    changes = "federation.rounds=1 federation.retries=0 train.optimiser=sgd train.lr=1e25 train.warm_up=0"
    with pytest.raises(FederationError, match=r"client-0: .*diverged, not finite at step \d: .*lower train\.lr"):
        make_federation(changes=changes).run()


def float_keys(cls, prefix):
    """Every setting of a section that takes a float, by its full key."""
    for name, hint in get_type_hints(cls).items():
        inner = [hint, *get_args(hint)]
        nested = [part for part in inner if dataclasses.is_dataclass(part)]
        for part in nested:
            yield from float_keys(part, f"{prefix}.{name}")
        if not nested and float in inner:
            yield f"{prefix}.{name}"


def all_float_keys():
    for name, section in _SECTIONS.items():
        yield from ((TASKS_BY_KEY["dual_reid"], key) for key in float_keys(section, name))
    for task, words in TASKS_BY_KEY.items():
        module = import_module(TASKS[task].settings)
        for name, section in (("model", module.ModelSettings), ("loss", module.LossSettings)):
            yield from ((words, key) for key in float_keys(section, name))


TASKS_BY_KEY = {
    "dual_reid": "experiment=quickstart",
    "cross_modal_reid": "experiment=synthetic_night",
    "plate_text": "experiment=plates_made",
}
KEYS = sorted(set(all_float_keys()))


def test_float_settings_are_found():
    keys = {key for _, key in KEYS}
    assert {
        "train.lr",
        "privacy.dp.epsilon",
        "data.equalise.base",
        "federation.max_share",
        "train.augment.zoom",
    } <= keys
    assert {"train.steps", "data.equalise.interval", "federation.server_optimiser.lr", "loss.temperature"} <= keys
    assert len(keys) > 60


@pytest.fixture(scope="module")
def composed():
    return {words: load_settings(words).as_dict() for words in TASKS_BY_KEY.values()}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(("words", "key"), KEYS)
def test_no_setting_is_infinite_or_no_number(composed, words, key, value):
    """Every float setting of every section and task, lists included."""

    def put(tree, path):
        name, *rest = path
        if rest:
            return {**tree, name: put(tree[name] or {}, rest)}
        return {**tree, name: [value] if isinstance(tree.get(name), list) else value}

    with pytest.raises(SettingsError, match=f"{re.escape(key)}.* must be a finite number"):
        settings_from(put(composed[words], key.split(".")))


@pytest.mark.parametrize(
    "override",
    ["train.lr=inf", "train.lr=nan", "train.lr=-inf", "train.lr=1e400", "+model.vehicle.options.drop_rate=inf"],
)
def test_it_is_refused_on_the_command_line(override):
    key = override.split("=")[0].lstrip("+")
    with pytest.raises(SettingsError, match=f"{re.escape(key)} must be a finite number"):
        load_settings(f"experiment=quickstart {override}")


def test_negative_rates_and_settings_made_by_programs_are_refused_too():
    with pytest.raises(SettingsError, match=r"train\.lr must be at least 0; got -1"):
        load_settings("experiment=quickstart train.lr=-1")
    with pytest.raises(SettingsError, match=r"federation\.deadline must be a finite number; got inf"):
        FederationSettings(deadline=math.inf)
    assert FederationSettings(rounds=10**400).rounds == 10**400  # whole numbers have no infinity
    require_finite("key", {"a": [1, 2.5, {"b": None}], "c": "inf"})
