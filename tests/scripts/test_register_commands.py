"""The register on the command line."""

import subprocess
import sys

import numpy as np
import pytest
from registers import photo

from app.evaluation.errors import EvaluationError
from app.register.errors import NotEnrolledError, RegisterError
from app.settings.checks import SettingsError
from scripts import register as register_command
from scripts.register_networks import _evidence_line


@pytest.fixture
def run(run_register):
    return run_register


@pytest.fixture
def picture(tmp_path):
    def picture(seed):
        path = tmp_path / f"{seed}.png"
        photo(seed).image.save(path)
        return path

    return picture


def test_from_an_empty_folder_to_an_owner_and_to_nothing_left(run, run_folder, picture):
    assert run("reembed", "--run", run_folder)[0]["libraries"] == ["fused", "plate", "vehicle"]
    words = ["--owner", "A. Resident", "--flat", "12", "--plate", "AB 12"]
    assert run("enrol", picture(1), "--plate-picture", picture(101), *words)[0] == {"vehicle": 1, "views": 1}
    assert run("enrol", picture(2), "--vehicle", 1)[0] == {"vehicle": 1, "views": 2}
    assert run("enrol", picture(3), "--box", "4,4,30,30")[0] == {"vehicle": 2, "views": 1}
    answer, _ = run("identify", picture(1), "--plate-picture", picture(101), "--owner")
    assert set(answer) >= {"decision", "vehicle", "decided_by", "similarity", "threshold", "runner_up"}
    assert (answer["decision"], answer["vehicle"], answer["decided_by"]) == ("match", 1, "fused")
    assert (answer["similarity"], answer["threshold"], answer["runner_up"]) == (1.0, 0.9, None)
    assert (answer["plate"], answer["owner"]["flat"]) == ("AB 12", "12")
    listed, lines = run("list")
    assert (listed["vehicles"], listed["views"], listed["sightings"]) == (2, 3, 1)
    assert lines[0].split() == ["1", "AB", "12", "2", "views"]
    assert run("export", picture(1).with_name("out"))[0]["vehicles"] == 2
    forgotten, _ = run("forget", "--owner-id", 1)
    assert (forgotten["vehicles"], forgotten["overwritten"]) == ([1], True)
    run("identify", picture(9))
    assert run("forget", "--sightings", 1)[0]["pictures"] == 0
    assert run("forget", "--sightings", 0)[0]["pictures"] == 1
    trail, _ = run("audit", "--limit", 5)
    actions = [line["action"] for line in trail["audit"]]
    assert actions == ["forget sightings", "forget sightings", "identify", "forget", "export"]
    assert trail["audit"][0]["account"].endswith(" (command line)")
    assert run("import", picture(1).with_name("out") / "register.csv")[0]["enrolled"] == 2


def test_the_retention_is_shown_and_set(run, run_folder):
    run("reembed", "--run", run_folder)
    said = [run("retention", *words)[0]["retention_days"] for words in ([], [30], [], [0], [])]
    assert said == [None, 30, 30, None, None]


def test_the_modality_is_seen_or_said(run, run_folder, picture, tmp_path):
    run("reembed", "--run", run_folder)
    night = tmp_path / "night.png"
    photo(1).image.convert("L").save(night)
    run("enrol", picture(2))
    for words, expected in (
        ([picture(1)], "visible"),
        ([night], "infrared"),
        ([night, "--modality", "visible"], "visible"),
        ([picture(1), "--modality", "infrared"], "infrared"),
    ):
        assert [row["modality"] for row in run("identify", *words)[0]["photographs"]] == [expected]
    with pytest.raises(RegisterError, match="modality must be one of auto, visible, infrared; got 'dusk'"):
        run("enrol", picture(1), "--modality", "dusk")


@pytest.mark.slow
def test_calibration_sets_thresholds_and_draws(run, run_folder, base_overrides, tmp_path):
    run("reembed", "--run", run_folder)
    root = next(word for word in base_overrides.split() if word.startswith("data.root="))
    words = ["data=manifest", root, "data.eval_split=test"]
    report, lines = run("calibrate", *words, "--rate", 0.05, "--unsure-rate", 0.2)
    assert set(report["libraries"]) == {"fused", "plate", "vehicle"}
    for library, row in report["libraries"].items():
        assert row["unsure"] <= row["threshold"] <= 1
        assert row["false_match_rate"]["share"] <= 0.05
        assert row["pairs_different"] >= 20
        assert row["look_up"]["share"] == 0  # nothing is enrolled
        assert (tmp_path / "register" / "calibration" / report["model"] / f"{library}.png").stat().st_size > 10_000
    assert lines[0].startswith("fused     match from ")
    evidence = next(line for line in lines if line.startswith("evidence"))
    assert evidence.startswith("evidence  not calibrated: 4 vehicles have a second image")  # the set's test vehicles
    few = [library for library, row in report["libraries"].items() if row["pairs_same"] < 30]
    assert [line.split()[0] for line in lines if line.endswith("how many are missed is not known")] == few
    earlier = {"error": "4 vehicles", "vehicles": 20}  # it goes on deciding
    assert _evidence_line(earlier) == "evidence  as it was calibrated before: 4 vehicles"
    assert run("decision")[0] == {"decision": "evidence", "evidence_calibrated": False}
    assert run("decision", "libraries")[0]["decision"] == "libraries"
    with pytest.raises(EvaluationError, match="0 vehicles have a second image to compare with; at least 10 are needed"):
        run("calibrate", "--own")
    with pytest.raises(ValueError, match=r"fused: \d+ pairs of different vehicles cannot show.*; plate: .*; vehicle: "):
        run("calibrate", *words, "--rate", 1e-6, "--unsure-rate", 1e-5)


@pytest.mark.parametrize(
    ("argv", "error", "reason"),
    [
        (["identify", "missing.jpg"], FileNotFoundError, "no such file: missing.jpg"),
        (["import", "missing.csv"], FileNotFoundError, "no such file: missing.csv"),
        (["reembed", "--run", "nowhere"], FileNotFoundError, "run folder not found"),
        (["calibrate"], SettingsError, "give a data set, such as .*, or --own"),
        (["calibrate", "--own", "data=two_cam"], SettingsError, "give a data set, such as .*, or --own"),
        (
            ["calibrate", "--own", "--stranger-rate", "0"],
            SettingsError,
            r"stranger-rate lies between 0 and 1, got 0\.0",
        ),
        (["decision", "chance"], SettingsError, "chance"),
        (["forget"], RegisterError, "one vehicle or one owner"),
        (["forget", "--vehicle", "7", "--sightings", "3"], SettingsError, "nothing beside it"),
        (["forget", "--vehicle", "7"], NotEnrolledError, "there is no vehicle 7"),
        (["lookup"], SettingsError, "No such command"),
        (["list", "--colour", "red"], SettingsError, "No such option"),
        (["list", "--url", "sqlite:////nowhere/x.sqlite"], RegisterError, "unable to open database file"),
        (["audit", "--register", "typo"], FileNotFoundError, "no register in typo"),
        (["detector", "--description", "yolov8_coco"], SettingsError, "belong to a network that --coco names"),
        (["detector", "missing.safetensors"], FileNotFoundError, "no detector: missing.safetensors"),
        (["detector", "--coco", "missing.pth"], FileNotFoundError, "missing.pth"),
        (["calibrate", "data=two_cam", "--rate", "2"], ValueError, "rate of match lies between 0 and 1, got 2"),
    ],
)
def test_a_mistake_is_one_line(run, run_folder, argv, error, reason):
    run("reembed", "--run", run_folder)
    with pytest.raises(error, match=reason):
        run(*argv)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--box", "1,2,3"], "not left,top,width,height: '1,2,3'"),
        (["--box", "1,2,3,4", "--box", "1,2,3,4"], "2 boxes for 1 photos"),
        (["--flat", "12"], "needs an owner"),
        (["--owner", "A", "--owner-id", "1"], "--owner or --owner-id"),
        (["--vehicle", "1", "--plate", "AB"], "takes photographs alone"),
    ],
)
def test_options_that_do_not_fit_are_named(run, run_folder, picture, words, reason):
    run("reembed", "--run", run_folder)
    with pytest.raises((SettingsError, RegisterError), match=reason):
        run("enrol", picture(1), *words)


def test_what_is_no_image_is_named(run, run_folder, tmp_path):
    run("reembed", "--run", run_folder)
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"x\.npy: not an image"):
        run("identify", tmp_path / "x.npy")


@pytest.mark.slow
def test_the_former_name_of_the_command_works_and_says_so(tmp_path):
    words = [sys.executable, "-m", "scripts.registry", "list", "--register", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert said[0] == "scripts.registry is now scripts.register; this name works for one more version"
    assert [line[:30] for line in said[1:]] == [f"error: no register in {tmp_path}"[:30]]


def test_commands_that_take_photographs_have_the_same_options(capsys):
    options = ("PICTURES...", "--plate-picture", "--box", "--plate-box", "--modality", "--whole")
    for name in ("enrol", "identify"):
        register_command.main([name, "--help"])
        said = capsys.readouterr().out
        assert [each for each in options if each not in said] == []
