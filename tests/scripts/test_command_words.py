"""Words and options of the commands: mistyped keys, empty paths, and numbers in another spelling."""

import pytest

from app.settings.checks import SettingsError
from scripts import (
    baseline,
    compare_plate_readers,
    evaluate,
    export,
    federation,
    read_plates,
    serve,
    simulate,
    train_detector,
)
from scripts import register as register_command
from scripts.bench import aggregation
from scripts.command import decimal_number, key_values, split_words, whole_number

ODD_NUMBERS = ["١٢", "1_0", " 7 ", "7\n", "+7", "-3", "0", "", "1e3", "0x10", "²", "7.0", str(10**30), "9" * 5000]


@pytest.mark.parametrize("word", ODD_NUMBERS)
def test_a_whole_number_is_written_in_ascii_digits_within_its_range(word):
    with pytest.raises(SettingsError, match="pictures must be a whole number from 1 to 1000000; got") as error:
        whole_number("pictures", word, 1, 1_000_000)
    assert len(str(error.value)) < 160
    assert "\n" not in str(error.value)


def test_numbers_within_their_range():
    assert [whole_number("n", word, -5, 1000) for word in ("-5", "0", "007", "1000")] == [-5, 0, 7, 1000]
    assert [decimal_number("n", word, 0, 10) for word in ("0", ".5", "1.", "1e-3", "10.0")] == [0, 0.5, 1, 0.001, 10]
    for word in ("nan", "inf", "1_0.0", "٥", " 1", "10.1", "-0.1", "", "1e400", "9" * 5000):
        with pytest.raises(SettingsError, match="refuse must be a number from 0 to 10; got"):
            decimal_number("refuse", word, 0, 10)


@pytest.mark.parametrize("word", ["١٢", "1_0", "-3", "0"])
def test_commands_read_numbers_so(word):
    with pytest.raises(SettingsError, match="pictures must be a whole number"):
        export.main(["run=x", "out=y.onnx", f"pictures={word}"])
    with pytest.raises(SettingsError, match="threads must be a whole number"):
        compare_plate_readers.main([f"threads={word}"])
    with pytest.raises(SettingsError, match="clients must be a whole number"):
        aggregation.main(["params=10", f"clients={word}"])


@pytest.mark.parametrize(
    ("main", "words", "meant"),
    [
        (export.main, ["ruun=x", "out=y.onnx"], "run"),
        (export.main, ["run=x", "out=y.onnx", "picturs=4"], "pictures"),
        (evaluate.main, ["runn=x"], "run"),
        (evaluate.main, ["run=x", "modle=central"], "model"),
        (simulate.main, ["resum=x"], "resume"),
        (baseline.main, ["moed=central"], "mode"),
        (read_plates.main, ["run=x", "detectr=y", "."], "detector"),
    ],
)
def test_a_mistyped_key_of_a_command_names_the_one_that_was_meant(main, words, meant):
    with pytest.raises(SettingsError, match=rf"^unknown key \w+; did you mean {meant}\?$"):
        main(words)


def test_settings_and_files_are_no_mistyped_keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ruun=1.jpg").touch()
    words = ["data=two_cam", "model=small_dual", "~data.holdout", "train.run=1", "-m", "ruun=1.jpg"]
    assert split_words(words, {"run": "", "mode": ""}) == ({"run": "", "mode": ""}, words)
    with pytest.raises(SettingsError, match=r"^unknown key ruun; did you mean run\?$"):
        split_words(["ruun=2.jpg"], {"run": ""})
    with pytest.raises(SettingsError, match=r"^unknown key clint; did you mean clients\?$"):
        key_values(["clint=4"], clients="4")
    with pytest.raises(SettingsError, match=r"^unknown argument 'data=4'; known: clients$"):
        key_values(["data=4"], clients="4")


@pytest.mark.parametrize(
    ("main", "words", "named"),
    [
        (export.main, ["run=x", "out="], "^out= is without a value"),
        (export.main, ["run=", "out=x.onnx"], "^run= is without a value"),
        (baseline.main, ["mode=central", "mode=local"], "^mode= is given twice"),
        (evaluate.main, ["run="], "^run= is without a value"),
        (simulate.main, ["resume="], "^resume= is without a value"),
        (simulate.main, ["data.root="], r"^data\.root must name a file or folder; got ''"),
        (simulate.main, ["data.equalise.folder="], r"^data\.equalise\.folder must name"),
        (simulate.main, ["model.vehicle.pretrained="], r"pretrained must name a file or folder"),
        (read_plates.main, ["run=x", "detector=", "."], "^detector= is without a value"),
        (federation.main, ["keys", "--out", ""], "'--out': the path is empty"),
        (federation.main, ["init", "--name", "a", "--host", "h", "--sites", "x", "--out", ""], "'--out': the path"),
        (federation.main, ["verify", ""], "FOLDERS.*: the path is empty"),
        (federation.main, ["status", ""], "RUN.*: the path is empty"),
        (register_command.main, ["list", "--register", ""], "'--register'.*: the path is empty"),
        (serve.main, ["run", "--register", ""], "'--register'.*: the path is empty"),
        (train_detector.main, [""], "FOLDER.*: the path is empty"),
    ],
)
def test_an_empty_path_is_refused_by_name(main, words, named, tmp_path, monkeypatch):
    """None is taken for the working folder, which stays as it is."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=named):
        main(words)
    assert list(tmp_path.iterdir()) == []
