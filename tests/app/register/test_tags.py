"""Tags of vehicles: kept, corrected, undone, merged, found, imported and exported."""

import csv
import json

import numpy as np
import pytest
from event_receivers import desk, name_receivers, see
from registers import photo, view
from test_listing import write

from app.register.corrections import Edit
from app.register.errors import RegisterError
from app.register.folder import RegisterFolder
from app.register.importing import import_entries
from app.register.matcher import Outcome
from app.register.model_versions import Models
from app.register.photos import VehiclePhoto
from app.register.search import By
from app.register.tables import read_listing, write_listing
from app.register.tags import checked_tags, split_tags, tagged
from app.register.updates import apply_updates, read_table


@pytest.fixture
def held(tmp_path, url):
    """A register with vehicles 1 and 2."""
    held = RegisterFolder(tmp_path / "register", url)
    model = Models(held.database).add("0" * 16, ["fused", "plate", "vehicle"], "a test", "tester")
    rng = np.random.default_rng(0)
    for plate, tags in (("AB 1234", "EV, disabled"), ("CD 5678", "")):
        about = {"account": "tester", "plate": plate}
        held.register.enrol([view(rng)], model_id=model.id, also=tagged(split_tags(tags)), **about)
    yield held
    held.close()


def tags(held, vehicle=1):
    return held.register.vehicle(vehicle).tags


def test_tags_are_short_words_each_once():
    assert checked_tags(split_tags(" EV; ev ,Behinderten-Parkplatz,电动 ")) == ["EV", "Behinderten-Parkplatz", "电动"]
    for wrong in ("-", "x" * 31, "a\u202eb"):
        with pytest.raises(RegisterError, match=r"tag"):
            checked_tags([wrong])
    with pytest.raises(RegisterError, match="at most 10 tags; these are 11"):
        checked_tags(str(number) for number in range(11))


def test_tags_are_corrected_and_undone(held):
    corrections = held.corrections
    assert corrections.edit(1, Edit(tags=["taxi"]), account="m") == ["tags"]
    assert corrections.edit(1, Edit(tags=["taxi"]), account="m") == []
    assert corrections.edit(1, Edit(note="red"), account="m") == ["note"]
    assert tags(held) == ["taxi"]
    assert corrections.edit(1, Edit(tags=[]), account="m") == ["tags"]
    assert tags(held) == []
    corrections.undo(1, account="m")
    assert tags(held) == ["taxi"]


def test_a_merged_vehicle_has_the_tags_of_both(held):
    held.corrections.edit(2, Edit(plate="", tags=["taxi", "ev"]), account="m")
    held.corrections.merge(1, 2, account="m")
    assert tags(held) == ["EV", "disabled", "taxi"]
    held.corrections.undo(1, account="m")
    assert (tags(held), tags(held, 2)) == (["EV", "disabled"], ["taxi", "ev"])


def test_vehicles_are_found_by_a_whole_tag(held):
    def found(text):
        return [(hit.vehicle, hit.by) for hit in held.search.for_manager(text, 1, "m").hits]

    assert found("ev") == found("tag EV") == found("tag e?") == [(1, By.tag)]
    assert found("e") == found("tag disable") == []
    held.corrections.edit(2, Edit(tags=["EV"]), account="m")
    held.corrections.edit(1, Edit(tags=["taxi"]), account="m")
    assert found("ev") == [(2, By.tag)]
    assert held.search.for_guard("disabled", "guard").hits == []


def test_an_event_of_a_match_has_the_tags(held):
    name_receivers(held.folder, desk("http://127.0.0.1:1"))
    see(held, Outcome.match, 1)
    see(held, Outcome.unsure, 1)
    assert [json.loads(event.body)["tags"] for event in held.outbox.waiting("desk", 9)] == [["EV", "disabled"], []]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_tags_come_with_a_table_and_go_with_one(identification, tmp_path):
    listing = write(tmp_path, {"path": "1.png", "plate_text": "AB 1", "tags": "EV; =disabled"}, {"path": "2.png"})
    list(import_entries(identification, read_listing(listing), "m"))
    assert tags(identification) == ["EV", "=disabled"]
    write_listing(identification, tmp_path / "out", "m")
    with (tmp_path / "out" / "register.csv").open(encoding="utf-8", newline="") as file:
        assert [row["tags"] for row in csv.DictReader(file)] == ["EV; =disabled", ""]
    changes = tmp_path / "changes.csv"
    changes.write_text("id,tags\n2,taxi\n1,\n", encoding="utf-8")
    apply_updates(identification.database, read_table(changes)[0], "m")
    assert (tags(identification), tags(identification, 2)) == (["EV", "=disabled"], ["taxi"])
    wrong = write(tmp_path, {"path": "3.png", "tags": "x" * 31})
    (result,) = import_entries(identification, read_listing(wrong), "m")
    assert "column tags holds no tags" in result.reason


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_row_that_was_imported_before_there_were_tags_stays_known(identification, tmp_path, monkeypatch):
    from app.register import importing

    listing = write(tmp_path, {"path": "1.png", "plate_text": "AB 1"})
    columns = tuple(column for column in importing.COLUMNS if column != "tags")
    with monkeypatch.context() as context:
        context.setattr(importing, "COLUMNS", columns)
        list(import_entries(identification, read_listing(listing), "m"))
    (result,) = import_entries(identification, read_listing(listing), "m")
    assert result.skipped


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_tag_that_cannot_be_enrols_nothing(identification):
    with pytest.raises(RegisterError, match="a tag is a word"):
        identification.enrol([VehiclePhoto(photo(1))], account="m", also=tagged(["-"]))
    assert identification.size() == 0
