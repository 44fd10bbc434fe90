"""Corrections of a register on the command line."""

import pytest
from registers import photo

from app.register.errors import DuplicatePlateError, NotEnrolledError, RegisterError
from app.settings.checks import SettingsError
from scripts import register as command


@pytest.fixture
def run(run_register, run_folder):
    run_register("reembed", "--run", run_folder)
    return run_register


@pytest.fixture
def picture(tmp_path):
    def picture(seed):
        path = tmp_path / f"{seed}.png"
        photo(seed).image.save(path)
        return path

    return picture


def test_values_images_and_duplicates_are_corrected(run, picture):
    run("enrol", picture(1), "--owner", "A. Resident", "--plate", "AB 12")
    assert run("edit", 1, "--plate", "AB 13", "--flat", "12")[0] == {"vehicle": 1, "changed": ["plate", "flat"]}
    assert run("edit", 1, "--plate", "AB 13")[0]["changed"] == []
    assert run("edit", 1, "--note", "x")[0]["changed"] == ["note"]
    assert run("undo", 1)[0] == {"vehicle": 1, "undone": "edit"}
    assert run("add-image", picture(2), "--vehicle", 1)[0] == {"vehicle": 1, "views": 2}
    shown = run("show", 1)[0]
    assert [shown[name] for name in ("plate", "note", "owner_id", "can_undo")] == ["AB 13", "", 1, "add"]
    assert [image["image"] for image in shown["images"]] == [1, 2]
    assert run("edit-image", 1, 2, "--modality", "infrared", "--box", "1,1,20,20")[0]["changed"] == [
        "modality",
        "vehicle_box",
    ]
    assert run("edit-image", 1, 2, "--box", "none")[0]["changed"] == ["vehicle_box"]
    assert run("remove-image", 1, 1)[0] == {"vehicle": 1, "views": 1, "overwritten": True}
    run("enrol", picture(3), "--owner-id", 1)
    assert run("merge", 1, 2)[0] == {"vehicle": 1, "merged": 2, "views": 2}
    assert run("undo", 1)[0]["undone"] == "merge"
    offered = run("enrol", picture(4), "--plate", "A8 13")[0]
    assert (offered["vehicle"], offered["looks_like"]) == (
        3,
        [{"vehicle": 1, "plate": "AB 13", "cost": 0.25, "similarity": None}],
    )
    trail = [line["action"] for line in run("audit", "--limit", 20)[0]["audit"]]
    assert {"correct", "undo edit", "correct view", "remove view", "merge", "undo merge"} <= set(trail)


def test_what_looks_the_same_is_said_on_standard_error(run, picture, capsys):
    run("enrol", picture(1), "--plate", "AB 12")
    command.main(["enrol", str(picture(2)), "--plate", "A8 12"])
    assert capsys.readouterr().err.splitlines()[-1] == "this looks like vehicle 1, AB 12: a similar plate; see `merge`"


@pytest.mark.parametrize(
    ("argv", "error", "reason"),
    [
        (["edit", 1], SettingsError, "nothing to change: give --plate"),
        (["edit", 9, "--note", "x"], NotEnrolledError, "there is no vehicle 9"),
        (["edit", 1, "--no-owner", "--owner-id", 1], SettingsError, "--owner-id or --no-owner"),
        (["edit", 1, "--owner-id", 1, "--flat", "3"], RegisterError, "the number of an owner, or name"),
        (["edit", 2, "--plate", "ab12"], DuplicatePlateError, "vehicle 1 has this plate already"),
        (["merge", 1, 1], RegisterError, "vehicle 1 cannot be merged with itself"),
        (["merge", 1, 2], RegisterError, "say whose owner stays, with `owner_of` 1 or 2"),
        (["remove-image", 1, 1], RegisterError, "is the only one of vehicle 1"),
        (["remove-image", 1, 2], NotEnrolledError, "vehicle 1 has no image 2"),
        (["edit-image", 1, 1], SettingsError, "nothing to change: give --modality"),
        (["edit-image", 1, 1, "--modality", "auto"], SettingsError, "visible or infrared"),
        (["edit-image", 1, 1, "--box", "1,2"], RegisterError, "not left,top,width,height"),
        (["undo", 1], RegisterError, "vehicle 1 has no last change that can be undone"),
        (["show", 0], SettingsError, "0"),
    ],
)
def test_a_correction_that_does_not_fit_is_one_line(run, picture, argv, error, reason):
    run("enrol", picture(1), "--owner", "A", "--plate", "AB 12")
    run("enrol", picture(2), "--owner", "B")
    with pytest.raises(error, match=reason):
        run(*argv)
