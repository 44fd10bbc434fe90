"""The commands `list` of a register: vehicles, and the lists of visitors, allowed and denied plates; tables of them."""

import csv
import json

import pytest
from event_receivers import name_receivers

from app.data.readers.errors import DataSetError
from app.register.errors import NotEnrolledError, RegisterError
from app.register.folder import RegisterFolder
from app.register.lists import ListError
from app.settings.checks import SettingsError
from models.errors import MissingFileError


@pytest.fixture
def register(tmp_path, run_register):
    """Runs a command on an empty register whose site is in Berlin."""
    RegisterFolder(tmp_path / "register").close()
    name_receivers(tmp_path / "register", 'time_zone = "Europe/Berlin"')
    return run_register


def test_entries_are_added_shown_changed_and_removed(register, tmp_path):
    made, _ = register("list", "add", "--kind", "deny", "--plate", "ab 12", "--reason", "contractor banned")
    assert made == {"entry": 1, "kind": "deny", "plate": "ab 12", "vehicle": None, "reason": "contractor banned"} | {
        "flat": "",
        "begin": None,
        "end": None,
        "account": made["account"],
    }
    visit = ("list", "add", "--kind", "visitor", "--plate", "VI 5", "--flat", "12", "--end")
    assert register(*visit, "2900-06-30")[0]["end"] == "2900-06-30 24:00"
    assert (
        register("list", "edit", "2", "--end", "2900-07-01 14:00", "--reason", "painter")[0]["end"]
        == "2900-07-01 14:00"
    )
    assert register("list", "edit", "1", "--begin", "2900-01-01")[0]["begin"] == "2900-01-01 00:00"
    assert register("list", "edit", "1", "--begin", "")[0]["begin"] is None
    said, lines = register("list", "show", "--kind", "visitor")
    assert [row["entry"] for row in said["entries"]] == [2]
    assert lines == ["     2  visitor  VI 5           until 2900-07-01 14:00   painter"]
    assert register("list", "remove", "1")[0] == {"removed": 1, "overwritten": True}
    assert [row["entry"] for row in register("list", "show", "--ended")[0]["entries"]] == [2]
    assert register("list")[0]["list"] == []  # the vehicles, as before
    assert register("list", "--register", tmp_path / "register")[0]["vehicles"] == 0


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["add", "--kind", "deny"], ListError, "needs a plate"),
        (["add", "--kind", "visitor", "--plate", "A 1"], ListError, "a visitor needs an end"),
        (["add", "--kind", "visitor", "--plate", "A 1", "--end", "2020-01-01"], ListError, "in the past"),
        (["add", "--kind", "deny", "--plate", "A 1", "--end", "soon"], RegisterError, "the end 'soon' is no day"),
        (["add", "--kind", "guest", "--plate", "A 1"], SettingsError, "'guest' is not one of"),
        (["edit", "1"], SettingsError, "nothing to change"),
        (["remove", "1"], NotEnrolledError, "there is no list entry 1"),
        (["ad"], SettingsError, "No such command 'ad'"),
        (["import", "missing.csv"], MissingFileError, "no such file"),
        (["export", ""], SettingsError, "the path is empty"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(register, words, error, message):
    with pytest.raises(error, match=message):
        register("list", *words)


def test_a_table_comes_back_as_it_went_and_computes_nothing(register, tmp_path):
    register("list", "add", "--kind", "deny", "--plate", "AB 12", "--reason", '=HYPERLINK("http://x")')
    register("list", "add", "--kind", "visitor", "--plate", "VI 5", "--flat", "-12", "--end", "2900-06-30")
    table = tmp_path / "lists.csv"
    assert register("list", "export", table)[0] == {"file": str(table), "entries": 2}
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["reason"], row["flat"], row["end"]) for row in rows] == [
        ("", "'-12", "2900-06-30 24:00"),
        ('\'=HYPERLINK("http://x")', "", ""),
    ]
    assert register("list", "import", table)[0] == {"rows": 2, "added": [], "skipped": 2}
    for number in (1, 2):
        register("list", "remove", number)
    assert len(register("list", "import", table)[0]["added"]) == 2
    reasons = {row["reason"] for row in register("list", "show")[0]["entries"]}
    assert reasons == {"", '=HYPERLINK("http://x")'}
    trail = register("audit")[0]["audit"]
    assert "AB 12" not in json.dumps(trail)
    assert {"export list", "import list"} <= {line["action"] for line in trail}


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ("kind,plate\ndeny,AB 1\nguest,AB 2", ListError, "row 3: column kind takes visitor, allow, deny, not 'guest'"),
        ("kind,plate\ndeny,AB 1\ndeny,", ListError, "row 3: an entry of kind deny needs a plate"),
        ("kind,plate\ndeny,AB 1\nallow,AB-1", ListError, "row 3: list entry .* has the kind deny"),
        ("kind,vehicle\ndeny,1e3", ListError, "row 2: column vehicle is no number"),
        ("kind,vehicle\ndeny,7", ListError, "row 2: there is no vehicle 7"),
        ("kind,plate,end\nvisitor,AB 1,31.12.2900", ListError, "row 2: the end '31.12.2900' is no day"),
        ("kind,plates\ndeny,AB 1", DataSetError, "unknown column 'plates'"),
        ("plate\nAB 1", DataSetError, "column 'kind' is missing"),
    ],
)
def test_a_table_with_a_mistake_adds_nothing(register, tmp_path, lines, error, message):
    table = tmp_path / "lists.csv"
    table.write_text(lines, encoding="utf-8")
    with pytest.raises(error, match=message):
        register("list", "import", table)
    assert register("list", "show", "--ended")[0]["entries"] == []
