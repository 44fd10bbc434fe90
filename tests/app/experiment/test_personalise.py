"""Choice of a client's personal model, against second computations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from federation_checks import assert_same_arrays
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.modules.batchnorm import _BatchNorm

from app.core.arrays import float_arrays, load_arrays
from app.data.dataset import open_source
from app.experiment import personalise as module
from app.experiment.held_out import HeldOut, hold_out
from app.experiment.held_out_scores import Judge, gain_bound, mean_score
from app.experiment.personalise import (
    SHARES,
    Candidate,
    between,
    candidates,
    estimate_statistics,
    personalise,
    trained_alone,
)
from app.experiment.training_alone import train_alone
from app.settings.load import load_settings
from app.tasks import make_task

ON = (
    "personalise=on personalise.tuning_epochs=2 personalise.rates=[0.5] personalise.least=2 personalise.confidence=0.5 "
    "personalise.alone=false"
)


@pytest.fixture(scope="module")
def site(base_overrides):
    """Settings, task, images of site "a" with those held out, and its network before and after training."""
    settings = load_settings(f"{base_overrides} {ON} train.head_init=centres")
    source = open_source(settings.data, settings.seed)
    samples = source.parts(2)[0]
    held_out = hold_out(settings, source, samples, source.evaluation_parts("val", 2)[0], "client-0")
    task, network, _ = train_alone(settings, samples, "client-0")
    return settings, task, held_out, {"global": float_arrays(network), "local": float_arrays(network)}


def worse(arrays):
    """The same network with another first layer."""
    rng = np.random.default_rng(0)
    first = next(name for name, array in arrays.items() if array.ndim == 4)
    return {**arrays, first: rng.normal(size=arrays[first].shape).astype(np.float32)}


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=5), st.floats(0.1, 0.9))
def test_points_of_a_line_are_the_ends_and_what_lies_between(values, share):
    start = {"a": np.array(values, np.float32)}
    end = {"a": np.float32(1) - start["a"]}
    assert between(start, end, 0.0)["a"].tobytes() == start["a"].tobytes()
    assert between(start, end, 1.0)["a"].tobytes() == end["a"].tobytes()
    expected = [(1 - share) * float(a) + share * float(b) for a, b in zip(start["a"], end["a"], strict=True)]
    np.testing.assert_allclose(between(start, end, share)["a"], expected, rtol=1e-4, atol=1e-3)
    assert between(start, end, share)["a"].dtype == np.float32


def test_candidates_lie_on_lines_to_the_local_and_the_fine_tuned_network(site):
    settings, task, held_out, models = site
    models = {**models, "local": worse(models["local"])}
    network = task.build(task.num_labels(held_out.samples), settings.seed, pretrained=False)
    learnt = {name for name, _ in network.named_parameters()}
    found = list(candidates(task, settings, network, held_out.samples, models, "client-0"))
    assert [each.share for each in found] == [0.0, *SHARES, *SHARES]
    assert [each.line for each in found] == ["statistics", *["local"] * 4, *["tuned at 0.5"] * 4]
    ends = {
        line: next(each.arrays for each in found if each.line == line and each.share == 1)
        for line in ("local", "tuned at 0.5")
    }
    assert_same_arrays(ends["local"], {name: models["local"][name] for name in ends["local"]})
    for each in found:
        assert not any("classifier" in name for name in each.arrays)
        for name in learnt & each.arrays.keys():
            end = ends.get(each.line, models["global"])[name]
            expected = models["global"][name] + each.share * (end - models["global"][name])
            np.testing.assert_allclose(each.arrays[name], expected, rtol=1e-5, atol=1e-6)


def test_statistics_are_those_of_the_training_batches(site):
    settings, task, held_out, models = site
    network = task.build(task.num_labels(held_out.samples), settings.seed, pretrained=False)
    load_arrays(network, models["global"])
    batches = task.batches(held_out.samples, 3)
    estimate_statistics(task, network, [batches[index] for index in range(3)], settings.seed)
    found = float_arrays(network)
    first = next(module for module in network.modules() if isinstance(module, _BatchNorm))
    seen = []
    hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().float()))
    network.train()
    with torch.no_grad():
        for index in range(3):
            task.losses(network, batches[index])
    hook.remove()
    expected = torch.stack([each.mean(dim=(0, 2, 3)) for each in seen]).mean(dim=0)
    name = next(name for name, each in network.named_modules() if each is first)
    np.testing.assert_allclose(found[f"{name}.running_mean"], expected, rtol=1e-4, atol=1e-4)
    assert first.momentum is not None
    for name in (name for name, _ in network.named_parameters()):
        assert found[name].tobytes() == models["global"][name].tobytes()


def test_a_client_for_which_the_global_model_is_best_keeps_it(site, monkeypatch):
    settings, task, held_out, models = site
    monkeypatch.setattr(module, "fine_tuned", lambda *_: module.without_heads(worse(models["global"]), task))
    monkeypatch.setattr(Judge, "scores", lambda _, network: scores_of(network, models["global"]))
    personal = personalise(task, settings, held_out, {**models, "local": worse(models["local"])}, "client-0")
    assert personal.report["chosen"] == "global"
    assert "no candidate is better" in personal.report["reason"]
    assert_same_arrays(personal.arrays, module.without_heads(models["global"], task))


def scores_of(network, best):
    """Full marks for one network, half for every other one."""
    own = float_arrays(network)
    same = all(own[name].tobytes() == array.tobytes() for name, array in best.items() if "classifier" not in name)
    return dict.fromkeys(range(20), (1.0 if same else 0.5, 1.0))


def test_a_better_candidate_is_kept_with_its_figures(site, monkeypatch):
    settings, task, held_out, models = site
    better = worse(models["local"])
    monkeypatch.setattr(Judge, "scores", lambda _, network: scores_of(network, better))
    personal = personalise(task, settings, held_out, {**models, "local": better}, "client-0")
    assert personal.report["chosen"] == "local, 1 of the way"
    assert (personal.report["global"], personal.report["score"], personal.report["bound"]) == (0.5, 1.0, 0.5)
    assert_same_arrays(personal.arrays, module.without_heads(better, task))
    assert len(personal.report["candidates"]) == 10


def test_a_rate_at_which_training_diverges_costs_its_own_candidates_alone(site, caplog):
    settings, task, held_out, models = site
    settings = replace(
        settings,
        train=replace(settings.train, lr=1e30, clip_norm=0.0, optimiser="sgd"),
        personalise=replace(settings.personalise, rates=[1.0, 1e-33]),
    )
    rows = personalise(task, settings, held_out, models, "client-0").report["candidates"]
    assert [row["candidate"].split(",")[0] for row in rows] == [
        *("global", "statistics"),
        *["local"] * 4,
        *["tuned at 1e-33"] * 4,
    ]
    assert "client-0: no candidates tuned at 1: training diverged" in caplog.text


def test_scores_by_vehicle_are_those_of_the_whole_evaluation(site):
    settings, task, held_out, models = site
    network = task.build(task.num_labels(held_out.samples), settings.seed, pretrained=False)
    load_arrays(network, models["global"])
    scores = Judge(task, held_out.directions, settings).scores(network)
    whole = task.evaluate(network, held_out.directions, task.compute.device)
    assert mean_score(scores) == pytest.approx(whole.measures["mAP"])
    assert set(scores) == {sample.pid for each in held_out.directions for sample in each.query}


def test_the_bound_of_a_gain_is_that_of_a_normal_distribution_for_many_vehicles():
    rng = np.random.default_rng(1)
    gains = rng.normal(0.1, 0.5, size=4000)
    base = dict.fromkeys(range(len(gains)), (0.0, 1.0))
    found = {pid: (float(gain), 1.0) for pid, gain in enumerate(gains)}
    expected = gains.mean() - 1.2816 * gains.std() / np.sqrt(len(gains))
    assert gain_bound(base, found, 0.9) == pytest.approx(expected, abs=0.003)
    assert gain_bound(base, base, 0.9) == 0.0


def with_alone(settings, *, lr=None):
    train = settings.train if lr is None else replace(settings.train, lr=lr, clip_norm=0.0, optimiser="sgd")
    return replace(settings, train=train, personalise=replace(settings.personalise, alone=True, tuning_epochs=0.0))


def test_the_model_trained_alone_is_a_stand_alone_one_and_the_end_of_a_line(site):
    settings, task, held_out, models = site
    settings = with_alone(settings)
    start = worse(models["global"])
    alone = trained_alone(task, settings, held_out.samples, start, "client-0")
    expected = float_arrays(train_alone(settings, held_out.samples, "client-0")[1])
    assert_same_arrays(alone, {name: expected[name] for name in expected if "classifier" not in name})
    network = task.build(task.num_labels(held_out.samples), settings.seed, pretrained=False)
    found = list(candidates(task, settings, network, held_out.samples, {"global": start, "alone": alone}, "client-0"))
    assert [(each.line, each.share) for each in found[:4]] == [("alone", each) for each in (1.0, 0.25, 0.5, 0.75)]
    assert_same_arrays(found[0].arrays, alone)
    first = next(name for name, array in expected.items() if array.ndim == 4)
    np.testing.assert_allclose(found[2].arrays[first], (start[first] + expected[first]) / 2, rtol=1e-5, atol=1e-6)


def test_a_client_without_plates_keeps_the_plate_network_of_the_others(base_overrides):
    both = base_overrides.replace(
        "model.plate=null", "model.plate.backbone=test_efficientnet model.plate.image_size=32"
    )
    settings = load_settings(f"{both} {ON}")
    task, source = make_task(settings), open_source(settings.data, settings.seed)
    samples = [replace(sample, plate_path=None, plate_boxes=()) for sample in source.parts(2)[0]]
    others = {name: array + 1 for name, array in float_arrays(task.build(2, settings.seed)).items()}
    alone = trained_alone(task, settings, samples, others, "client-0")
    reached = {name for name, array in alone.items() if array.tobytes() != others[name].tobytes()}
    assert {name.split(".")[0] for name in reached} == {"vehicle"}
    assert any(name.startswith("plate.") for name in alone)


ONE_EACH = dict.fromkeys(range(8), (0.5, 1.0))
UNEVEN = {pid: (1.0 if pid < 4 else 0.1, 1.0) for pid in range(8)}  # 0.55 on average, and no certain gain
EVEN = dict.fromkeys(range(8), (0.52, 1.0))  # a certain gain, and less than that
LESS = dict.fromkeys(range(8), (0.4, 1.0))
LESS_UNEVEN = {pid: (0.9 if pid < 4 else 0.22, 1.0) for pid in range(8)}  # 0.56, no certain gain, but a surer one


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({"alone": UNEVEN, "local": EVEN}, "alone, 1 of the way"),
        ({"alone": UNEVEN, "local": dict.fromkeys(range(8), (0.56, 1.0))}, "local, 1 of the way"),
        ({"alone": UNEVEN, "local": LESS_UNEVEN}, "local, 1 of the way"),
        ({"alone": UNEVEN, "local": dict.fromkeys(range(8), (mean_score(UNEVEN), 1.0))}, "local, 1 of the way"),
        ({"alone": LESS, "local": EVEN}, "local, 1 of the way"),
        ({"alone": LESS, "local": LESS}, "global"),
        ({"alone": ONE_EACH, "local": LESS}, "global"),  # as good as the one alone
    ],
)
def test_nothing_below_the_model_trained_alone_is_chosen(site, monkeypatch, found, chosen):
    settings, task, held_out, models = site
    settings = with_alone(settings)
    settings = replace(settings, personalise=replace(settings.personalise, confidence=0.95))
    monkeypatch.setattr(module, "trained_alone", lambda *_: models["global"])
    ends = [Candidate(line, 1.0, worse(models["global"])) for line in ("alone", "local")]
    monkeypatch.setattr(module, "candidates", lambda *_: iter(ends))
    scores = iter([ONE_EACH, found["alone"], found["local"]])
    monkeypatch.setattr(Judge, "scores", lambda *_: next(scores))
    report = personalise(task, settings, held_out, models, "client-0").report
    assert report["chosen"] == chosen
    assert report["alone"] == mean_score(found["alone"])
    assert report.get("score", report["global"]) >= report["alone"]
    below = report["global"] < report["alone"]
    assert report["reason"].startswith("the global model scores below the one trained alone") == below
    assert ("no candidate is better" in report["reason"]) == (chosen == "global")


def test_a_model_alone_that_diverges_costs_its_own_candidates_alone(site, caplog):
    settings, task, held_out, models = site
    report = personalise(task, with_alone(settings, lr=1e30), held_out, models, "client-0").report
    assert [row["candidate"].split(",")[0] for row in report["candidates"]] == ["global", "statistics", *["local"] * 4]
    assert "alone" not in report
    assert "client-0: no candidates trained alone: training diverged" in caplog.text


@pytest.mark.parametrize(("least", "reason"), [(9, "fewer than the 9 needed"), (2, "")])
def test_too_few_held_out_vehicles_keep_the_global_model(site, least, reason):
    settings, task, held_out, models = site
    settings = replace(settings, personalise=replace(settings.personalise, least=least))
    report = personalise(task, settings, held_out, models, "client-0").report
    assert reason in report.get("reason", "")
    assert ("candidates" in report) == (not reason)


def test_a_client_without_held_out_vehicles_keeps_the_global_model(site):
    settings, task, held_out, models = site
    personal = personalise(task, settings, HeldOut(held_out.samples[:8], [], "too few"), models, "client-0")
    assert personal.report == {"chosen": "global", "held_out": "too few", "measure": "mAP", "reason": "too few"}
