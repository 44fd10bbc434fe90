"""Calibration on answers that guards confirmed: the register's scores, what is left out, and figures of it."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from test_identification_by_evidence import VEHICLES, enrolled, seen  # noqa: F401 - fixtures

from app.evaluation.errors import EvaluationError
from app.register.calibrate import read_report
from app.register.calibrate_own import calibrate_by_register, renew_figures
from app.register.confirmations import Says, answered
from app.register.confirmed import of_confirmed
from app.register.matcher import Threshold
from app.register.schema import Confirmation, Sighting
from app.register.trials import trials_of
from scripts import register as register_command


@pytest.fixture
def url(request, tmp_path):
    """SQLite, unless a test names another database."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'register.sqlite'}"
    return request.getfixturevalue("postgres")()


@pytest.fixture
def confirmed(enrolled, seen):  # noqa: F811
    """Identifies photographs of the numbers and says what they show: a resident, or nobody from number 100 on."""

    def confirmed(*numbers, variant=3):
        found = {}
        for number in numbers:
            found[number] = answer = enrolled.identify([seen(number, variant)], account="guard")
            vehicle = number + 1 if number < 100 else None
            says = Says.vehicle if vehicle else Says.none
            enrolled.confirmations.confirm(answer.sighting, says, "guard", vehicle)
        return found

    return confirmed


def asked(identification):
    """What the confirmed answers are compared with, by vehicle; a stranger has the negative number of the sighting."""
    said = of_confirmed(identification, *identification.active_model.current())
    return said, {trial.pid: trial for trial in trials_of(said.comparisons)}


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_the_scores_are_those_of_an_identification(enrolled, confirmed):  # noqa: F811
    answers = confirmed(0, 5, 9, 100, 101)
    said, trials = asked(enrolled)
    assert said.counts() == {"residents": 3, "vehicles": 3, "strangers": 2, "left_out": 0}
    for number, answer in answers.items():
        trial = trials[number + 1 if number < 100 else -answer.sighting]
        assert trial.is_stranger == (number >= 100)
        found = trial.stranger if trial.is_stranger else trial.resident
        for name, candidates in answer.decision.candidates.items():
            for each in candidates:
                assert found[name][each.vehicle] == pytest.approx(each.score, abs=1e-5)
        if not trial.is_stranger:  # as a stranger its own vehicle is out
            assert all(number + 1 not in scores for scores in trial.stranger.values())


def test_a_photograph_is_not_compared_with_what_was_enrolled_after_it(enrolled, confirmed, seen):  # noqa: F811
    confirmed(3)
    [stranger] = confirmed(100).values()
    enrolled.enrol([seen(100, 3), seen(100, 4)], account="tester")  # the stranger moves in
    enrolled.add_views(4, [seen(3, 3)], account="tester")  # the guard's own photograph is enrolled
    said, trials = asked(enrolled)
    assert (said.residents, said.strangers) == (1, 1)
    found = trials[-stranger.sighting]
    assert found.is_stranger
    assert all(VEHICLES + 1 not in scores for scores in found.stranger.values())
    assert trials[4].resident["vehicle"][4] < 0.9  # not its own file, whose similarity to itself is 1
    cosines = next(each for each in said.comparisons if each.name == "vehicle").similarities(slice(None))
    assert cosines[np.isfinite(cosines)].max() < 0.9999
    assert np.isinf(cosines).sum() == 6  # of both photographs, the three images that came later


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_images_of_the_photographs_modality_come_first_as_in_an_identification(enrolled, seen, modality):  # noqa: F811
    """A vehicle that has both counts by those."""
    enrolled.add_views(4, [replace(seen(3, 4), modality="infrared")], account="tester")
    answer = enrolled.identify([replace(seen(3, 3), modality=modality)], account="guard")
    enrolled.confirmations.confirm(answer.sighting, Says.vehicle, "guard", 4)
    _, trials = asked(enrolled)
    names = [name for name, found in answer.decision.candidates.items() if found]
    assert list(trials[4].resident) == names
    first = {"visible": "vehicle", "infrared": "vehicle-infrared-to-infrared"}
    assert (names[0], len(names)) == (first[modality], 2)


def test_a_resident_without_an_enrolled_plate_is_asked_as_one(enrolled, confirmed):  # noqa: F811
    """Its photograph has a plate, and so have other vehicles; the library of plates, asked first, lacks this one."""
    confirmed(3)
    said, _ = asked(enrolled)
    [look] = [each for each in said.comparisons if each.name == "vehicle"]
    others = look.ids["g_pids"] != 4
    ids = {name: values[others] if name.startswith("g_") else values for name, values in look.ids.items()}
    plates = look._replace(
        name="fused", gallery=look.gallery[others], ids=ids, times=(look.times[0], look.times[1][others])
    )
    for order in ([plates, look], [look, plates]):
        [trial] = trials_of(order)
        assert not trial.is_stranger
        assert 4 in trial.resident["vehicle"]
        assert trial.resident["fused"].keys() == trial.stranger["fused"].keys() == set(range(1, VEHICLES + 1)) - {4}
        assert (trial.vehicles, 4 in trial.stranger["vehicle"]) == (VEHICLES, False)
    [stranger] = trials_of([plates])
    assert (stranger.is_stranger, stranger.resident) == (True, {})


def test_what_cannot_be_judged_is_left_out(enrolled, confirmed, seen):  # noqa: F811
    answers = confirmed(1, 2, 100)
    unknown = enrolled.identify([seen(7, 3)], account="guard")
    enrolled.models.set_thresholds(
        enrolled.models.active().id, dict.fromkeys(("vehicle", "plate", "fused"), Threshold(1.0, 1.0)), "tester"
    )
    new = enrolled.identify([seen(102, 3)], account="manager", enrol_unknown=True)
    assert new.enrolled
    enrolled.confirmations.confirm(new.sighting, Says.right, "manager")  # it is an enrolled image by now
    later = enrolled.identify([seen(103, 3)], account="guard")
    moved_in = enrolled.enrol([seen(103, 4)], account="tester")
    enrolled.confirmations.confirm(later.sighting, Says.vehicle, "manager", moved_in)
    if unknown.decision.outcome == "match":
        enrolled.confirmations.confirm(unknown.sighting, Says.wrong, "guard")
    enrolled.photos.path(answers[2].images[0]).unlink()
    said, trials = asked(enrolled)
    assert {trial.pid for trial in trials.values()} == {2, -answers[100].sighting}
    assert said.left_out == len(enrolled.confirmations.all()) - 2


def test_too_few_are_refused_with_their_number_and_nothing_changes(enrolled, confirmed):  # noqa: F811
    with pytest.raises(EvaluationError, match="no confirmed answer can be used yet: leave --confirmed out"):
        calibrate_by_register(enrolled, account="tester", confirmed=True)
    confirmed(*range(9), 100)
    with pytest.raises(EvaluationError, match=r"of 9 registered vehicles; at least 10 .* --own --confirmed"):
        calibrate_by_register(enrolled, account="tester", own=False, confirmed=True)
    assert enrolled.models.active().evidence is None


@pytest.mark.slow
def test_confirmed_answers_calibrate_alone_and_beside_the_own_images(enrolled, confirmed):  # noqa: F811
    confirmed(*range(12), *range(100, 106))
    alone = calibrate_by_register(enrolled, account="tester", own=False, confirmed=True)["evidence"]
    assert (alone["queries"], alone["vehicles"], alone["registered"]) == (18, 12, VEHICLES)
    assert alone["confirmed"] == {"residents": 12, "vehicles": 12, "strangers": 6, "left_out": 0}
    assert 0 <= alone["real_strangers_named"]["low"] <= alone["real_strangers_named"]["share"]
    assert "before" not in alone
    first = enrolled.models.active().evidence
    both = calibrate_by_register(enrolled, account="tester", confirmed=True)
    assert both["evidence"]["queries"] == 2 * VEHICLES + 18
    assert both["evidence"]["before"].keys() >= {"residents_right", "strangers_named"}
    assert both["evidence"]["confirmed"] == alone["confirmed"]
    assert enrolled.models.active().evidence != first
    assert read_report(enrolled.folder / "calibration" / both["model"])["evidence"] == both["evidence"]
    assert sum(both["evidence"][f"residents_{each}"]["share"] for each in ("right", "wrong", "unsure", "unknown")) == (
        pytest.approx(1)
    )


def given(decision, named, truth, vehicle, day=1):
    """A sighting with its confirmation."""
    moment = datetime(2026, 3, day, tzinfo=UTC)
    return Sighting(decision=decision, vehicle_id=named, created=moment), Confirmation(truth=truth, vehicle_id=vehicle)


def test_answers_are_counted_as_they_were_given():
    rows = [
        given("match", 1, "vehicle", 1),
        given("match", 2, "vehicle", 1),
        given("unsure", None, "vehicle", 1),
        given("unknown", None, "vehicle", 1),
        given("match", 1, "wrong", None),
        *[given("match", 1, "none", None)] * 4,
    ]
    found = answered(rows, datetime(2026, 2, 1, tzinfo=UTC))
    assert (found.residents, found.right, found.wrong) == (4, 1, 1)
    assert (found.strangers, found.named, found.unclear) == (4, 4, 1)
    assert found.named_share == (1, 0.25, 1)  # the rule of three
    mixed = answered([*rows, *[given("unsure", None, "none", None, 9)] * 12], datetime(2026, 2, 1, tzinfo=UTC))
    assert mixed.named_share.share == 4 / 16
    assert 0 < mixed.named_share.low < 0.25 < mixed.named_share.high < 0.6
    later = answered(rows, datetime(2026, 3, 2, tzinfo=UTC))
    assert (later.residents, later.strangers, later.named_share) == (0, 0, None)


def test_figures_are_measured_again_with_the_same_calibration(enrolled, seen):  # noqa: F811
    assert not renew_figures(enrolled)  # nothing was calibrated
    report = calibrate_by_register(enrolled, account="tester")
    evidence = enrolled.models.active().evidence
    for number in range(20, 24):
        enrolled.enrol([seen(number, variant) for variant in (1, 2)], account="tester")
    assert renew_figures(enrolled)
    latest = read_report(enrolled.folder / "calibration" / report["model"])["evidence"]
    assert (latest["now"]["vehicles"], latest["now"]["queries"]) == (VEHICLES + 4, 2 * VEHICLES + 8)
    assert (latest["registered"], latest["now"]["registered"]) == (VEHICLES, VEHICLES + 4)
    assert enrolled.models.active().evidence == evidence
    again = calibrate_by_register(enrolled, account="tester")["evidence"]
    assert "now" not in again


@pytest.mark.usefixtures("enrolled")
def test_the_command(url, confirmed, run_register, monkeypatch):
    monkeypatch.setenv("REGISTER_URL", url)
    confirmed(0, 1, 100)
    with pytest.raises(EvaluationError, match="of 2 registered vehicles"):
        run_register("calibrate", "--confirmed", "--device", "cpu")
    report, lines = run_register("calibrate", "--own", "--confirmed", "--device", "cpu")
    assert report["evidence"]["confirmed"]["strangers"] == 1
    assert lines[0].startswith("confirmed  2 answers of 2 residents, 1 of strangers, 0 left out; guards confirm what")
    assert lines[1].startswith("confirmed  strangers named ")
    with pytest.raises(ValueError, match="or --own, or --confirmed"):
        register_command.main(["calibrate", "data=two_cam", "--confirmed"])
