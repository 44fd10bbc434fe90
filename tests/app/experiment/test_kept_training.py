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

PARTS = [(0, 3), (3, 6), (6, 9)]  # three epochs of three batches in three rounds


@pytest.fixture(scope="module")
def site(base_overrides):
    """Settings, task, images of a client, and its model trained in one go."""
    settings = load_settings(f"{base_overrides} train.keep_optimiser=false train.head_init=centres")
    samples = open_source(settings.data, settings.seed).parts(2)[0]
    task = make_task(settings)
    return settings, task, samples, float_arrays(train_alone(settings, samples, "client-0", task=task)[1])


@pytest.fixture
def kept(tmp_path):
    return KeptTraining(NodeStore(tmp_path), 3, "a key", nullcontext)


@pytest.fixture
def stretches(monkeypatch):
    """First and one-past-last step of each call of `train`."""
    called, train = [], training_alone.train

    def noted(*args, steps, **named):
        called.append(steps)
        return train(*args, steps=steps, **named)

    monkeypatch.setattr(training_alone, "train", noted)
    return called


def trained(site, kept):
    settings, task, samples, _ = site
    return float_arrays(train_alone_kept(settings, samples, "client-0", task, kept))


def killed_after(kept, parts):
    """The same, of a process that is killed while it trains the part after these."""
    write, written = kept.write, []

    def dies(*args):
        if len(written) == parts:
            raise PowerCutError
        written.append(args[0])
        write(*args)

    kept.write = dies
    return kept, written


@pytest.mark.parametrize("parts", [0, 1, 2, 3])
def test_a_killed_process_goes_on_with_the_last_part_kept(site, tmp_path, stretches, parts):
    first, written = killed_after(KeptTraining(NodeStore(tmp_path), 3, "a key", nullcontext), parts)
    if parts < 3:
        with pytest.raises(PowerCutError):
            trained(site, first)
    else:
        trained(site, first)
    before = len(stretches)
    after = trained(site, KeptTraining(NodeStore(tmp_path), 3, "a key", nullcontext))
    assert_same_arrays(after, site[3])
    assert stretches[before:] == PARTS[parts:], "nothing is trained twice"
    assert written == [end for _, end in PARTS[:parts]]


def test_what_was_kept_goes_when_the_personal_model_is_made(site, kept):
    trained(site, kept)
    assert kept.store.rounds("alone") == [3]
    kept.drop()
    assert kept.store.rounds("alone") == []


def other_key(kept):
    kept.key = "another"


def damaged(kept):
    path = next(kept.store.folder.glob("alone-*"))
    path.write_bytes(path.read_bytes()[:-9])


def other_network(kept):
    arrays, moments = kept.read()[1:]
    name = min(arrays)
    kept.write(2, {**arrays, name: arrays[name].reshape(-1)[:1]}, moments)


def fewer_arrays(kept):
    arrays, moments = kept.read()[1:]
    kept.write(2, dict(list(arrays.items())[1:]), moments)


def no_steps(kept):
    arrays = kept.read()[1]
    kept.store.write("alone", 3, arrays, {"key": kept.key})


@pytest.mark.parametrize("spoil", [other_key, damaged, other_network, fewer_arrays, no_steps])
def test_what_does_not_fit_is_not_taken(site, kept, stretches, spoil):
    trained(site, kept)
    spoil(kept)
    assert_same_arrays(trained(site, kept), site[3])
    assert stretches[3:] == stretches[:3]


def test_a_full_disk_costs_no_training(site, kept, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NodeStore, "write", full)
    assert_same_arrays(trained(site, kept), site[3])
    assert "not kept after step" in caplog.text


def test_a_process_that_a_later_one_has_followed_stops(site, kept):
    def outdated():
        raise OutdatedAttemptError("a later attempt has begun")

    kept.keeping = outdated
    with pytest.raises(OutdatedAttemptError):
        trained(site, kept)
