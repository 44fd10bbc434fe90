"""Descriptions of other programs' networks: those that do not fit, wrong ones, and those that come with the project."""

import json

import pytest
from foreign_networks import constant_network, description, rows_of

from app.core.errors import StoredFileError
from app.detection.described import DESCRIPTIONS, DescribedDetector, read_foreign
from app.settings.checks import SettingsError
from app.settings.detector_description import description_from, read_description


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"layout": "yolov5"}, r"its output has the shape \(1, 10, 80\), not \(1, N, 11\)"),
        ({"num_classes": 80}, r"its output has the shape \(1, 10, 80\), not \(1, 84, N\) of 80 classes"),
        ({"layout": "ssd"}, r"its output has the shape \(1, 10, 80\), not \(1, 1, N, 7\)"),
        ({"width": 320}, r"its input is tensor\(float\) \[1, 3, 64, 64\], not tensor\(float\) \[1, 3, 64, 320\]"),
        ({"output": "other"}, "it has no output other, but output"),
    ],
)
def test_a_description_that_does_not_fit_says_what_does_not(tmp_path, changed, reason):
    (tmp_path / "d.yaml").write_text(description(**changed))
    path = constant_network(tmp_path / "n.onnx", rows_of("yolov8")[0])
    with pytest.raises(StoredFileError, match=reason) as caught:
        DescribedDetector(read_foreign(path, None, str(tmp_path / "d.yaml"))).try_once()
    assert str(caught.value).startswith(f"{path} does not fit its description: ")
    assert "\n" not in str(caught.value)


def test_scores_that_are_none_are_no_scores(tmp_path):
    (tmp_path / "d.yaml").write_text(description())
    path = constant_network(tmp_path / "n.onnx", 50 * rows_of("yolov8")[0])
    with pytest.raises(StoredFileError, match=r"has scores from .* to .*, not from 0 to 1"):
        DescribedDetector(read_foreign(path, None, str(tmp_path / "d.yaml"))).try_once()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2]", "a description is keys with values"),
        ("layout: [", "a description is YAML"),
        ("{" * 3000, "no parts within parts more than 3 deep"),
        (description(layout=None), "description.layout is missing"),
        (description(layout="ssdd"), "description.layout must be one of ssd, yolov5, yolov8; got 'ssdd'"),
        (description(colour="red"), "unknown key description.colour"),
        (description(width=100_000), "description.width must be at most 4096; got 100000"),
        (description(width="wide"), "description.width"),
        (description(classes={}), "must map one class of the network or more to a name"),
        (description(classes={2: "lorry"}), "'lorry' for class 2"),
        (description(classes={6: "car"}), "names class 6, of classes 0 to 5"),
        (description(classes={-1: "car"}), "description.classes"),
        (description(num_classes=None), "description.num_classes is missing"),
        (description(mean=[1, 2]), "description.mean"),
        (description(scale=[1, 2, "x"]), "description.scale"),
        (description(scale=float("nan")), "description.scale"),
        (description(min_score=2), "description.min_score must be at most 1; got 2"),
        (description(layout={"a": 1}), "description.layout"),
        (description(scale=10**400), "more than 200 characters"),
        (f"layout: ssd\nwidth: 0x{'f' * 5000}", "more than 200 characters"),
        (f"layout: ssd\nwidth: 1{':1' * 5000}", "more than 200 characters"),
        (f"layout: ssd\n? {'a' * 5000}\n: 1", "more than 200 characters"),
    ],
)
def test_a_wrong_description_is_one_line(text, reason):
    with pytest.raises(SettingsError, match=reason) as caught:
        read_description(text.encode())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("key", ["mean", "scale", "min_score"])
def test_a_number_that_is_too_large_for_any_value_is_named(key):
    """As a file of the register may hold it, in JSON."""
    values = json.loads(description(**{key: 3 * [10**400] if key == "mean" else 10**400}))
    with pytest.raises(SettingsError, match=f"description.{key}.* must be a finite number; got inf"):
        description_from(values)


def test_a_description_that_repeats_itself_is_not_spelt_out():
    """Twelve lines that stand for 10 ** 12 texts."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join(10 * [f'*a{i - 1}'])}]" for i in range(1, 12)]
    with pytest.raises(SettingsError, match="no aliases") as caught:
        read_description("\n".join([*lines, "layout: *a11", "classes: *a11", "width: 64", "height: 64"]).encode())
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", sorted(path.stem for path in DESCRIPTIONS.glob("*.yaml")))
def test_ready_descriptions_name_the_same_four_kinds(name):
    about = read_description((DESCRIPTIONS / f"{name}.yaml").read_bytes())
    assert sorted(about.classes.values()) == ["bus", "car", "motorcycle", "truck"]
    assert (about.finds_vehicles, about.finds_plates) == (True, False)
