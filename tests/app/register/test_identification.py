"""Images in, decisions out, with a real (untrained) dual network."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from registers import photo

from app.core.sample import Box
from app.register.embedder import Recogniser
from app.register.errors import DuplicatePlateError, RegisterError
from app.register.identification import Identification
from app.register.matcher import Outcome, Threshold
from app.register.photos import Photo, Photos, VehiclePhoto
from app.register.records import NewOwner


@pytest.mark.parametrize(
    ("vehicle_photo", "library", "vehicle"),
    [
        (VehiclePhoto(photo(2), plate=photo(102)), "fused", 3),
        (VehiclePhoto(photo(50), plate=photo(102)), "plate", 3),
        (VehiclePhoto(photo(2), plate=photo(150)), "vehicle", 3),
        (VehiclePhoto(photo(5)), "vehicle", 6),
        (VehiclePhoto(photo(5), plate=photo(150)), "vehicle", 6),
    ],
)
def test_a_vehicle_is_found_in_the_library_that_knows_it(sure_register, vehicle_photo, library, vehicle):
    answer = sure_register.identify([vehicle_photo], account="guard")
    assert (answer.decision.outcome, answer.decision.decided_by) == (Outcome.match, library)
    assert answer.decision.vehicle == vehicle
    assert answer.decision.similarity == pytest.approx(1, abs=1e-5)
    kept = sure_register.journal.audit(1)[0]
    assert (kept.action, kept.subject) == ("identify", f"sighting {answer.sighting}")


def test_several_photographs_count_together(sure_register):
    one = sure_register.identify([VehiclePhoto(photo(1), plate=photo(101))], account="guard").decision
    two = sure_register.identify(
        [VehiclePhoto(photo(1), plate=photo(101)), VehiclePhoto(photo(2), plate=photo(102))], account="guard"
    ).decision
    assert one.outcome is Outcome.match
    assert two.outcome is not Outcome.match
    both = {c.vehicle: c.similarity for c in two.candidates["fused"]}
    each = [
        {
            c.vehicle: c.similarity
            for c in sure_register.identify(
                [VehiclePhoto(photo(n), plate=photo(100 + n))], account="g"
            ).decision.candidates["fused"]
        }
        for n in (1, 2)
    ]
    for vehicle, similarity in both.items():
        assert similarity == pytest.approx((each[0][vehicle] + each[1][vehicle]) / 2, abs=1e-6)


def test_a_second_angle_is_enough_to_be_known(sure_register):
    vehicle_photo = VehiclePhoto(photo(60), plate=photo(160))
    assert sure_register.identify([vehicle_photo], account="guard").decision.outcome is not Outcome.match
    sure_register.add_views(2, [vehicle_photo], account="manager")
    assert sure_register.identify([vehicle_photo], account="guard").decision.vehicle == 2
    assert sure_register.identify([VehiclePhoto(photo(1), plate=photo(101))], account="guard").decision.vehicle == 2


def test_an_unknown_vehicle_is_enrolled_if_that_is_wanted(sure_register):
    strict = Threshold(match=1.0, unsure=1.0)
    model, _ = sure_register.active_model.current()
    sure_register.models.set_thresholds(model.id, dict.fromkeys(model.libraries, strict), "tester")
    vehicle_photo = VehiclePhoto(photo(70))
    assert sure_register.identify([vehicle_photo], account="guard").enrolled is None
    answer = sure_register.identify([vehicle_photo], account="guard", enrol_unknown=True)
    assert answer.decision.outcome is Outcome.unknown
    vehicle = sure_register.register.vehicle(answer.enrolled)
    assert vehicle.owner_id is None
    assert [view.picture for view in vehicle.views] == answer.images  # kept once
    sure_register.register.forget(account="manager", vehicle_id=vehicle.id)
    assert not sure_register.photos.path(answer.images[0]).exists()
    assert sure_register.register.counts()["sightings"] == 1  # the first one


def test_look_ups_at_once_answer_as_one_after_the_other(sure_register):
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(
                lambda n: sure_register.identify([VehiclePhoto(photo(n % 5), plate=photo(100 + n % 5))], account="g"),
                range(10),
            )
        )
    assert [answer.decision.vehicle for answer in answers] == [n % 5 + 1 for n in range(10)]
    assert len({answer.sighting for answer in answers}) == 10


def test_one_unknown_vehicle_is_enrolled_once_by_look_ups_at_once(sure_register):
    model, _ = sure_register.active_model.current()
    same = Threshold(match=0.999999, unsure=0.999999, margin=0.0)
    sure_register.models.set_thresholds(model.id, dict.fromkeys(model.libraries, same), "tester")
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(
                lambda _: sure_register.identify([VehiclePhoto(photo(70))], account="g", enrol_unknown=True), range(4)
            )
        )
    enrolled = [answer.enrolled for answer in answers if answer.enrolled]
    assert len(enrolled) == 1
    assert [answer.decision.vehicle for answer in answers if not answer.enrolled] == enrolled * 3


def test_pictures_are_written_while_another_look_up_is_embedded(sure_register, monkeypatch):
    """Nothing is embedded before both have written their pictures."""
    both, written, keep, embed = threading.Event(), [], Photos.keep, Recogniser.embed

    def tell(self, given):
        written.append(keep(self, given))
        if len(written) == 2:
            both.set()
        return written[-1]

    def wait(self, images):
        assert both.wait(30)
        return embed(self, images)

    monkeypatch.setattr(Photos, "keep", tell)
    monkeypatch.setattr(Recogniser, "embed", wait)
    with ThreadPoolExecutor(2) as looks:
        found = list(
            looks.map(lambda n: sure_register.identify([VehiclePhoto(photo(n))], account="g").decision.vehicle, (5, 5))
        )
    assert found == [6, 6]


def test_boxes_cut_the_vehicle_and_the_plate(sure_register):
    scene = photo(7, size=(90, 120)).image
    scene.paste(photo(3).image, (10, 20))
    found = sure_register.identify(
        [VehiclePhoto(Photo(scene, 1.0), vehicle_box=Box(10, 20, 40, 48))], account="guard"
    ).decision
    # The scene is written as JPEG, whose blocks lie otherwise in it than in the picture alone.
    assert found.candidates["vehicle"][0].vehicle == 4


def test_a_refused_enrolment_leaves_no_picture(sure_register):
    before = sorted(path.name for path in sure_register.photos.folder.iterdir())
    with pytest.raises(DuplicatePlateError):
        sure_register.enrol(
            [VehiclePhoto(photo(80)), VehiclePhoto(photo(81), plate=photo(82))],
            account="t",
            plate="a-b-0",
            owner=NewOwner("X"),
        )
    with pytest.raises(ValueError, match="outside"):
        sure_register.enrol(
            [VehiclePhoto(photo(80)), VehiclePhoto(photo(81), plate_box=Box(500, 0, 9, 9))], account="tester"
        )
    assert sorted(path.name for path in sure_register.photos.folder.iterdir()) == before
    assert sure_register.register.counts()["owners"] == 0


def test_pictures_and_database_belong_together(sure_register, tmp_path):
    with pytest.raises(RegisterError, match=r"belongs to another database|is missing"):
        Identification(tmp_path / "register", f"sqlite:///{tmp_path / 'other.sqlite'}", "cpu")
    (tmp_path / "register" / "register.id").unlink()
    with pytest.raises(RegisterError, match="is missing"):
        Identification(
            tmp_path / "register", str(sure_register.database.engine.url.render_as_string(hide_password=False)), "cpu"
        )
    assert len(list(sure_register.photos.folder.iterdir())) == 11


def test_libraries_that_find_different_vehicles_are_each_searched_once(identification, monkeypatch):
    """What one library finds is compared in all of them, from the search that was made there already."""
    for number in range(8):
        identification.enrol([VehiclePhoto(photo(number), plate=photo(50 + number))], account="tester")
    model, recogniser = identification.active_model.current()
    image = VehiclePhoto(photo(3), plate=photo(56)).as_stored()
    framed = identification.framing.frame(image)
    found, index, searched = recogniser.embed([framed.image]), identification.index(model), []
    look = index.look

    def counted(library, photographs, limit):
        searched.append(library)
        return look(library, photographs, limit)

    monkeypatch.setattr(index, "look", counted)
    answer = identification.candidates(model, found, "visible", 1, set())
    assert len({each[0].vehicle for each in answer.values()}) > 1  # the look of one, the plate of another
    assert len({frozenset(each.vehicle for each in row) for row in answer.values()}) == 1
    assert sorted(searched) == sorted(set(searched))
    expected = {each.vehicle for each in answer["vehicle"]}
    again = index.search("vehicle", np.stack([found[0]["vehicle"]]), 1, expected)
    assert answer["vehicle"] == again
