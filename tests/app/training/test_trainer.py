"""The one trainer: a run cut in pieces equals a whole one, FedProx, and losses that are not finite."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.core.arrays import float_arrays, load_arrays, private_patterns
from app.data.dataset import open_source
from app.data.readers.errors import DataSetError
from app.experiment.training_alone import client_seed
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.trainer import TrainingError, round_steps, total_steps, train

TOTAL = 6


@pytest.fixture(scope="module")
def settings(base_overrides):
    return load_settings(base_overrides)


class Setting:
    """One client's network and batches, ready to be trained."""

    def __init__(self, settings):
        self.settings, self.task = settings, make_task(settings)
        self.samples = open_source(settings.data, settings.seed).parts(2)[0]
        self.network = self.task.build(self.task.num_labels(self.samples), settings.seed)
        self.batches = self.task.batches(self.samples, 5)

    def train(self, first, last, **more):
        options = {"settings": self.settings.train, "data": self.settings.data, **more}
        return train(
            self.task,
            self.network,
            self.batches,
            steps=(first, last),
            total=TOTAL,
            compute=self.task.compute,
            private=private_patterns(self.network, self.settings.federation),
            **options,
        )


def assert_equal(first, second):
    ours, theirs = float_arrays(first), float_arrays(second)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_run_in_two_pieces_equals_a_whole_one(settings, optimiser, channels_last):
    chosen = replace(settings, train=replace(settings.train, optimiser=optimiser, channels_last=channels_last))
    whole, first, second = Setting(chosen), Setting(chosen), Setting(chosen)
    everything = whole.train(0, TOTAL)
    one = first.train(0, 2)
    load_arrays(second.network, float_arrays(first.network))
    two = second.train(2, TOTAL, optimiser=one.optimiser)
    assert_equal(whole.network, second.network)
    assert everything.optimiser.keys() == two.optimiser.keys()
    for name, moment in everything.optimiser.items():
        np.testing.assert_array_equal(moment, two.optimiser[name], err_msg=name)
    assert everything.num_images == one.num_images + two.num_images == TOTAL * 8
    assert everything.losses["total"] == pytest.approx(
        (2 * one.losses["total"] + 4 * two.losses["total"]) / 6, rel=1e-6
    )


def test_without_the_moments_it_does_not(settings):
    whole, cut = Setting(settings), Setting(settings)
    whole.train(0, TOTAL)
    cut.train(0, 2)
    cut.train(2, TOTAL)
    assert any((float_arrays(whole.network)[name] != array).any() for name, array in float_arrays(cut.network).items())


def test_one_seed_gives_the_same_numbers_whatever_was_drawn_before(settings):
    first, second = Setting(settings), Setting(settings)
    reports = []
    for setting, noise in ((first, 1), (second, 2)):
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002 - disturbs what a hidden global draw would read
        reports.append(setting.train(0, 3).losses)
    assert reports[0] == reports[1]
    assert_equal(first.network, second.network)


def test_loader_processes_change_nothing(settings):
    alone, helped = Setting(settings), Setting(settings)
    alone.train(0, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        helped.train(0, 2, data=replace(settings.data, workers=1))
    assert_equal(alone.network, helped.network)


class Unreadable:
    """Batches of which none can be made."""

    batches_per_epoch = 1

    def __init__(self, end):
        self.end = end

    def __getitem__(self, index):
        self.end()


def read_nothing():
    raise DataSetError("no picture of batch 0 can be read, the first is a: b.png")


@pytest.mark.parametrize(
    ("end", "kind", "said"),
    [
        (read_nothing, DataSetError, r"^no picture of batch 0 can be read, the first is a: b\.png$"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), TrainingError, r"was ended.*data\.workers=0"),
        (lambda: [][0], IndexError, "Caught IndexError in DataLoader worker"),
    ],
)
def test_errors_of_loader_processes_say_what_happened(settings, end, kind, said, monkeypatch):
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)  # seconds until a death is noticed
    setting = Setting(settings)
    setting.batches = Unreadable(end)
    with pytest.raises(kind, match=said):
        setting.train(0, 1, data=replace(settings.data, workers=1))


def test_rounds_part_the_run_without_gaps():
    for total, rounds in ((10, 3), (3, 8), (7, 7), (1, 1)):
        parts = [round_steps(total, server_round, rounds) for server_round in range(1, rounds + 1)]
        assert [step for first, last in parts for step in range(first, last)] == list(range(total))
        assert max(last - first for first, last in parts) - min(last - first for first, last in parts) <= 1


@pytest.mark.slow
def test_a_round_without_a_step_is_none(settings):
    setting = Setting(settings)
    before = float_arrays(setting.network)
    report = setting.train(2, 2)
    assert (report.steps, report.num_images, report.losses) == (0, 0, {})
    for name, array in float_arrays(setting.network).items():
        np.testing.assert_array_equal(array, before[name])


def test_total_steps_count_passes(settings):
    batches = Setting(settings).batches
    assert total_steps(batches, 2.0) == 2 * batches.batches_per_epoch
    assert total_steps(batches, 1e-6) == 1


@pytest.mark.parametrize("mu", [0.0, 0.7])
def test_fedprox_adds_mu_times_the_distance_to_the_gradient(settings, mu):
    """w' = w - lr (g + mu (w - w_anchor)) for shared parameters, w - lr g for the classifier."""
    chosen = replace(
        settings,
        train=replace(
            settings.train,
            optimiser="sgd",
            lr=0.1,
            momentum=0.0,
            weight_decay=0.0,
            warm_up=0.0,
            clip_norm=0.0,
            fedprox_mu=mu,
        ),
    )
    setting, twin = Setting(chosen), Setting(chosen)
    generator = torch.Generator().manual_seed(3)
    anchor = {
        name: parameter.detach() + torch.randn(parameter.shape, generator=generator)
        for name, parameter in setting.network.named_parameters()
        if "classifier" not in name
    }
    before = {name: parameter.detach().clone() for name, parameter in twin.network.named_parameters()}
    twin.task.losses(twin.network.train(), twin.batches[0])["total"].backward()
    setting.train(0, 1, anchor=anchor)
    for name, parameter in setting.network.named_parameters():
        gradient = dict(twin.network.named_parameters())[name].grad
        if gradient is None:
            assert not parameter.requires_grad
            continue
        pull = mu * (before[name] - anchor[name]) if name in anchor else 0.0
        expected = before[name] - 0.1 * (gradient + pull)
        # Two ways to round a sum of three float32 values below 10.
        np.testing.assert_allclose(parameter.detach(), expected, rtol=1e-6, atol=1e-6, err_msg=name)


class ExplodingTask:
    """The task with a loss that is not a number at one step."""

    def __init__(self, task, step):
        self.task, self.step, self.calls = task, step, 0

    def losses(self, network, batch):
        parts = self.task.losses(network, batch)
        self.calls += 1
        return parts if self.calls <= self.step else {**parts, "total": parts["total"] * float("nan")}


def test_a_loss_that_is_not_finite_names_the_step(settings):
    setting = Setting(settings)
    setting.task = ExplodingTask(setting.task, 2)
    setting.task.compute = setting.task.task.compute
    with pytest.raises(TrainingError, match=r"not finite at step 3: .*total nan"):
        setting.train(1, TOTAL)


def test_a_far_too_large_rate_is_an_error_and_not_a_network_of_nan(settings):
    train_settings = replace(settings.train, optimiser="sgd", lr=1e30, warm_up=0.0, clip_norm=0.0)
    with pytest.raises(TrainingError, match=r"not finite at step \d"):
        Setting(settings).train(0, TOTAL, settings=train_settings)


def test_unreadable_pictures_are_left_out_and_named(settings, tmp_path):
    setting = Setting(settings)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    samples = [replace(sample, path=broken) if i == 0 else sample for i, sample in enumerate(setting.samples)]
    setting.batches = setting.task.batches(samples, 5)
    report = setting.train(0, setting.batches.batches_per_epoch)
    assert report.bad == {str(broken)}
    assert setting.task.bad_images.keys() == {str(broken)}
    assert report.num_images < report.steps * 8


def test_a_clients_seed_depends_on_its_name_and_the_runs_seed(settings):
    seeds = {
        client_seed(replace(settings, seed=s), name) for s in (0, 1) for name in ("client-0", "client-1", "0-client")
    }
    assert len(seeds) == 6
    assert json.dumps(sorted(seeds))  # plain integers
