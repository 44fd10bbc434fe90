"""Vehicles that a client keeps out of its training to choose its personal model by."""

from dataclasses import replace

import pytest

from app.data.dataset import open_source
from app.experiment.held_out import HeldOut, chosen_by, hold_out
from app.settings.load import load_settings

ON = "personalise=on personalise.least=2"


@pytest.mark.parametrize(("least", "few"), [(1, []), (3, ["client-0", "client-1"])])
def test_clients_that_cannot_choose_are_named_at_the_start(base_overrides, least, few):
    settings = load_settings(f"{base_overrides} {ON} personalise.least={least}")
    source = open_source(settings.data, settings.seed)
    said = chosen_by(settings, source)
    assert said.startswith(f"personal models are chosen by vehicles of the split val, {least} at least")
    assert [f"client-{number}" for number in range(2) if f"client-{number}" in said] == few


def test_the_clients_that_cannot_choose_are_those_of_the_run(base_overrides, monkeypatch):
    settings = load_settings(f"{base_overrides} {ON} federation.num_clients=1 personalise.least=9")
    source = open_source(settings.data, settings.seed)  # of two sites
    assert chosen_by(settings, source).endswith("keep the global model: client-0")
    many = load_settings(f"{base_overrides} {ON} data.val_split= personalise.least=9")
    monkeypatch.setattr(type(source), "parts", lambda *_: [source.train()] * 1000)
    assert chosen_by(many, source).endswith("client-6, client-7 and 992 more")


def test_held_out_vehicles_are_not_trained_on(base_overrides):
    settings = load_settings(f"{base_overrides} {ON} data.val_split= personalise.holdout=0.4")
    source = open_source(settings.data, settings.seed)
    for number, (part, count) in enumerate(zip(source.parts(2), (2, 0), strict=True)):
        held = hold_out(settings, source, part, [], f"client-{number}")
        left = {sample.pid for each in held.directions for sample in (*each.query, *each.gallery)}
        assert len(left) == count  # two of five vehicles; one of three would be fewer than personalise.least
        assert left.isdisjoint({sample.pid for sample in held.samples})
        assert left | {sample.pid for sample in held.samples} == {sample.pid for sample in part}
        assert held == hold_out(settings, source, part, [], f"client-{number}")
    assert held.source.startswith("40% of its 3 training vehicles are too few to choose by")
    said = "personal models are chosen by 40% of the client's training vehicles, 2 at least (personalise.least)"
    assert chosen_by(settings, source) == f"{said}; with fewer these keep the global model: client-1"
    off = replace(settings, personalise=replace(settings.personalise, enabled=False))
    assert hold_out(off, source, part, [], "client-0") == HeldOut(part, [])


@pytest.mark.parametrize("words", ["personalise.alone=true", "personalise.tuning_epochs=3"])
def test_settings_of_personal_models_that_are_not_made_are_remarked_on(base_overrides, words):
    settings = load_settings(f"{base_overrides} {words}")
    source = open_source(settings.data, settings.seed)
    said = chosen_by(settings, source, f"{base_overrides} {words}")
    assert said == "personalise.* has no effect: personalise=on makes personal models"
    assert chosen_by(settings, source, f"{base_overrides} run_dir='/runs/personalise.off 2'") == ""
