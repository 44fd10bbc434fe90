"""Figures over all folds, against the mean over a list of all queries; the command with a sweep in its place."""

import json

import numpy as np
import pytest

from app.core.run_folder import RunFolder
from app.experiment.baselines import mean_of_clients
from app.experiment.cross_validation import pooled, pooled_table
from app.experiment.local_superlink import SimulationError
from app.experiment.sweeps import Job, Sweep, SweepError
from app.settings.checks import SettingsError
from scripts import cross_validate, sweep

QUERIES = (7, 30, 12)
WAYS = ("infrared_to_visible", "visible_to_infrared")


def precisions(model, seed, fold, way):
    """Of each query of a fold."""
    rng = np.random.default_rng([len(model), seed, fold, WAYS.index(way)])
    return rng.random(QUERIES[fold] + WAYS.index(way))


def row(model, seed, fold):
    values = {way: precisions(model, seed, fold, way) for way in WAYS}
    directions = {w: {"mAP": v.mean(), "rank1": (v > 0.5).mean(), "queries": len(v)} for w, v in values.items()}
    both = {name: float(np.mean([each[name] for each in directions.values()])) for name in ("mAP", "rank1")}
    return {**both, "queries": sum(map(len, values.values())), "directions": directions}


def ended(folder, seed, fold):
    models = {model: row(model, seed, fold) for model in ("global", "central")}
    with RunFolder(folder) as made:
        made.write_summary({"run_dir": str(folder), "seconds": 1.0, "bytes_up": 0, "models": models})


@pytest.fixture
def found(tmp_path):
    """Three folds with two seeds."""
    jobs = [
        Job(["a=b", f"seed={seed}", "data.folds=3", f"data.fold={fold}"], f"{seed}-{fold}")
        for seed in (0, 1)
        for fold in range(3)
    ]
    made = Sweep(tmp_path, jobs)
    made.write()
    for seed in (0, 1):
        for fold in range(3):
            ended(tmp_path / f"{seed}-{fold}", seed, fold)
    return made


def test_every_query_counts_once(found):
    rows = pooled(found)
    assert [each.label for each in rows] == ["seed=0", "seed=1"]
    for seed, each in enumerate(rows):
        assert (each.folds, each.of, each.queries) == ([0, 1, 2], 3, 2 * sum(QUERIES) + 3)
        for model in ("global", "central"):
            ways = [np.concatenate([precisions(model, seed, fold, way) for fold in range(3)]) for way in WAYS]
            assert each.models[model]["mAP"] == pytest.approx(np.mean([way.mean() for way in ways]))
            assert each.models[model]["rank1"] == pytest.approx(np.mean([(way > 0.5).mean() for way in ways]))


def test_figures_of_one_direction_are_pooled_by_query(found):
    for fold in range(3):
        folder = RunFolder(found.path / f"0-{fold}")
        summary = folder.read_summary()
        del summary["models"]["global"]["directions"]
        folder.write_summary(summary)
    means, counts = zip(*[(row("global", 0, fold)["mAP"], 2 * QUERIES[fold] + 1) for fold in range(3)], strict=True)
    assert pooled(found)[0].models["global"]["mAP"] == pytest.approx(np.average(means, weights=counts))


def change(found, fold, changed):
    """Change the models of a fold of seed 0."""
    folder = RunFolder(found.path / f"0-{fold}")
    summary = folder.read_summary()
    changed(summary["models"])
    folder.write_summary(summary)


def test_means_over_clients_are_pooled_as_a_single_model_is(found):
    """Clients of the same figures as the global model have its mean in the table, although only theirs are kept by
    direction."""
    for fold in range(3):
        change(found, fold, lambda models: models.update(local=mean_of_clients(dict.fromkeys("ab", models["global"]))))
    models = pooled(found)[0].models
    assert "directions" not in RunFolder(found.path / "0-0").read_summary()["models"]["local"]
    assert models["local"] == pytest.approx(models["global"])


def test_a_model_that_failed_in_one_fold_keeps_its_others(found):
    for failed in ({"error": "no memory"}, {"clients": {"client-0": {"error": "no memory"}}}):
        change(found, 1, lambda models, failed=failed: models.update(central=failed))
        row = pooled(found)[0]
        assert row.folds == [0, 1, 2]
        central = row.measured["central"]
        assert (central.folds, central.queries) == ([0, 2], 2 * (QUERIES[0] + QUERIES[2]) + 2)
        ways = [np.concatenate([precisions("central", 0, fold, way) for fold in (0, 2)]) for way in WAYS]
        assert row.models["central"]["mAP"] == pytest.approx(np.mean([way.mean() for way in ways]))
        lines = [line.split()[1:6] for line in pooled_table([row]).splitlines()[1:]]
        assert lines == [
            ["global", "3", "of", "3", str(row.queries)],
            ["central", "2", "of", "3", str(central.queries)],
        ]


def test_a_fold_that_has_not_ended_is_missing_from_the_table(found):
    (found.path / "0-1" / "summary.json").unlink()
    lines = pooled_table(pooled(found)).splitlines()
    assert lines[1].split()[:5] == ["seed=0", "global", "2", "of", "3"]
    assert lines[3].split()[:5] == ["seed=1", "global", "3", "of", "3"]
    assert lines[3].split()[6] == f"{100 * pooled(found)[1].models['global']['mAP']:.2f}"


def test_the_command_runs_a_sweep_over_the_folds(found, monkeypatch, capsys):
    given = []
    monkeypatch.setattr(sweep, "prepared", lambda words, all_needed: (given.extend([all_needed, *words]), found)[1])
    monkeypatch.setattr(sweep, "run", lambda _: None)
    cross_validate.main(["folds=3", "seed=0,1", "experiment=roadscene"])
    assert given == [
        True,
        *("seed=0,1", "experiment=roadscene", "data.folds=3", "data.fold=0,1,2"),
        *("data.eval_split=fold", "data.val_split="),
    ]
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["folds"][1]["models"] == pooled(found)[1].models
    assert (found.path / "folds.md").read_text().splitlines()[0] == "| model | folds | queries | mAP | rank1 |"
    cross_validate.main([f"show={found.path}"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == printed


@pytest.mark.parametrize("words", [["experiment=roadscene"], ["resume="]])
def test_figures_are_printed_after_a_failure_too(found, monkeypatch, capsys, words):
    """The error names the folder in which the others' hours are."""
    (found.path / "0-1" / "summary.json").unlink()

    def fail(_):
        raise SimulationError("1 of 6 jobs failed: no memory")

    monkeypatch.setattr(sweep, "prepared", lambda *_, **__: found)
    monkeypatch.setattr(sweep, "run", fail)
    words = [f"{word}{found.path}" if word == "resume=" else word for word in words]
    with pytest.raises(SimulationError, match="1 of 6 jobs failed: no memory") as raised:
        cross_validate.main(words)
    assert f"show={found.path}" in str(raised.value)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["folds"][0]["folds"] == [0, 2]
    assert "2 of 3" in (found.path / "folds.md").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["folds=1"], "folds must be a whole number from 2 to 100; got '1'"),
        (["data.eval_split=test"], "this command sets data.folds, data.fold, data.eval_split"),
        (["show=x", "folds=3"], "take all else from that folder"),
        (["seed=0,1", "experiment=plates_countries"], "task=plate_text: a cross-validation is of queries ranked"),
    ],
)
def test_words_that_cannot_be_used(words, reason, monkeypatch):
    monkeypatch.setattr(sweep, "prepared", pytest.fail)
    with pytest.raises(SettingsError, match=reason):
        cross_validate.main(words)


def test_a_sweep_without_folds_is_none(tmp_path, monkeypatch):
    Sweep(tmp_path, [Job(["seed=0"], "0")]).write()
    monkeypatch.setattr(sweep, "run", pytest.fail)
    for word in (f"show={tmp_path}", f"resume={tmp_path}"):
        with pytest.raises(SweepError, match="is no cross-validation"):
            cross_validate.main([word])
