"""A model that a client trains alone goes on where a killed process left it."""

from contextlib import nullcontext

import pytest
from federation_checks import PowerCutError, assert_same_arrays

from app.core.arrays import float_arrays
from app.core.node_store import NodeStore, OutdatedAttemptError
from app.data.dataset import open_source
from app.experiment import training_alone
from app.experiment.training_alone import KeptTraining, train_alone, train_alone_kept
from app.settings.load import load_settings
from app.tasks import make_task

KINDS = [
    "train.keep_optimiser=false train.head_init=centres",
    "train.optimiser=sgd train.head_warm_up=0.5",
    "loss.memory=8 loss.metric=triplet",
    "federation.rounds=30",
]


class Site:
    """A client's images, and its model trained in one go."""

    def __init__(self, overrides):
        self.settings = load_settings(overrides)
        self.samples = open_source(self.settings.data, self.settings.seed).parts(2)[0]
        self.task = make_task(self.settings)
        alone = train_alone(self.settings, self.samples, "client-0", task=self.task)
        self.expected, self.steps = float_arrays(alone[1]), alone[2].steps

    def trained(self, kept):
        return float_arrays(train_alone_kept(self.settings, self.samples, "client-0", self.task, kept))


@pytest.fixture(scope="module")
def site(base_overrides):
    return Site(base_overrides)


def kept_in(folder, key="a key", every=0.0):
    return KeptTraining(NodeStore(folder), key, nullcontext, every)


@pytest.fixture
def steps(monkeypatch):
    """First and one-past-last step of each call of `train`."""
    called, train = [], training_alone.train

    def noted(*args, steps, **named):
        called.append(steps)
        return train(*args, steps=steps, **named)

    monkeypatch.setattr(training_alone, "train", noted)
    return called


def killed(site, kept, parts):
    """Train until the process is killed before it keeps the part after these."""
    keep, calls = kept.keep, []

    def dies(*args):
        if len(calls) == parts:
            raise PowerCutError
        calls.append(args)
        keep(*args)

    kept.keep = dies
    with pytest.raises(PowerCutError):
        site.trained(kept)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_process_goes_on_with_the_last_part_kept(base_overrides, tmp_path, steps, kind):
    site = Site(f"{base_overrides} {kind}")
    assert site.steps > 6  # fewer than the parts that a longer training is kept in: each step is one
    for parts in (0, 1, 5, site.steps - 1):
        folder = tmp_path / str(parts)
        killed(site, kept_in(folder), parts)
        steps.clear()
        assert_same_arrays(site.trained(kept_in(folder)), site.expected)
        assert steps == [(step, step + 1) for step in range(parts, site.steps)], "nothing is trained twice"
    steps.clear()
    assert_same_arrays(site.trained(kept_in(folder)), site.expected)
    assert steps == [], "all is there"


def test_it_is_kept_now_and_then_and_at_the_end(site, tmp_path):
    kept, written = kept_in(tmp_path, every=3600.0), []
    write = kept.store.write
    kept.store.write = lambda *args: written.append(args[2].keys()) or write(*args)
    site.trained(kept)
    assert len(written) == 1
    assert not any(name.startswith("moment/") for name in written[0]), "nothing is trained after the end"


def test_what_was_kept_goes_when_the_personal_model_is_made(site, tmp_path):
    kept = kept_in(tmp_path)
    site.trained(kept)
    (tmp_path / ".alone-000000.safetensors.77.tmp").write_bytes(b"half of it")  # of a process that was killed meanwhile
    kept.drop()
    assert list(tmp_path.iterdir()) == []


def damaged(folder):
    path = next(folder.glob("alone-*"))
    path.write_bytes(path.read_bytes()[:-9])


def rewritten(folder, arrays=lambda held: held, **about):
    store = NodeStore(folder)
    held, metadata = store.read("alone", 0)
    store.write("alone", 0, arrays(held), {**metadata, **about})


def flat(held):
    name = next(name for name in held if held[name].ndim > 1)
    return {**held, name: held[name].reshape(-1)}


SPOILT = {
    "another key": lambda folder: rewritten(folder, key="another"),
    "damaged": damaged,
    "another network": lambda folder: rewritten(folder, flat),
    "an array less": lambda folder: rewritten(folder, lambda held: dict(list(held.items())[1:])),
    "more images": lambda folder: rewritten(folder, total="900"),
    "steps that it does not have": lambda folder: rewritten(folder, steps="900"),
    "steps below 0": lambda folder: rewritten(folder, steps="-1"),
    "no number": lambda folder: rewritten(folder, steps="many"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_does_not_fit_is_not_taken(site, tmp_path, steps, spoil, caplog):
    site.trained(kept_in(tmp_path))
    spoil(tmp_path)
    steps.clear()
    assert_same_arrays(site.trained(kept_in(tmp_path)), site.expected)
    assert steps[0] == (0, 1)
    assert "the model trained alone begins anew: " in caplog.text


def test_a_full_disk_costs_no_training(site, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NodeStore, "write", full)
    assert_same_arrays(site.trained(kept_in(tmp_path)), site.expected)
    assert "not kept after step" in caplog.text


def test_a_process_that_a_later_one_has_followed_stops(site, tmp_path, steps):
    def outdated():
        raise OutdatedAttemptError("a later attempt has begun")

    kept = kept_in(tmp_path)
    kept.keeping = outdated
    with pytest.raises(OutdatedAttemptError):
        site.trained(kept)
    assert len(steps) == 1
