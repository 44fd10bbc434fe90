"""Images in, decisions out, with a real (untrained) dual network."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from registers import photo

from app.core.sample import Box
from app.register import embedder
from app.register.embedder import Recogniser, sample_of
from app.register.errors import DuplicatePlateError, RegisterError
from app.register.identification import Identification
from app.register.matcher import Outcome, Threshold
from app.register.photos import Photo, Photos, VehiclePhoto
from app.register.records import NewOwner

SURE = Threshold(match=0.999999, unsure=0.99, margin=0.0)
"""For a network that has learnt nothing: the same picture has similarity 1, all others are close to it."""


@pytest.fixture
def sure(identification):
    """Five vehicles, photographs 0 to 4 with plates 100 to 104, and one with a vehicle alone, photograph 5."""
    model, _ = identification.active_model.current()
    identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, SURE), "tester")
    for number in range(5):
        identification.enrol(
            [VehiclePhoto(photo(number), plate=photo(100 + number))], account="tester", plate=f"AB {number}"
        )
    identification.enrol([VehiclePhoto(photo(5))], account="tester")
    return identification


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
def test_a_vehicle_is_found_in_the_library_that_knows_it(sure, vehicle_photo, library, vehicle):
    answer = sure.identify([vehicle_photo], account="guard")
    assert (answer.decision.outcome, answer.decision.decided_by) == (Outcome.match, library)
    assert answer.decision.vehicle == vehicle
    assert answer.decision.similarity == pytest.approx(1, abs=1e-5)
    kept = sure.journal.audit(1)[0]
    assert (kept.action, kept.subject) == ("identify", f"sighting {answer.sighting}")


def test_several_photographs_count_together(sure):
    one = sure.identify([VehiclePhoto(photo(1), plate=photo(101))], account="guard").decision
    two = sure.identify(
        [VehiclePhoto(photo(1), plate=photo(101)), VehiclePhoto(photo(2), plate=photo(102))], account="guard"
    ).decision
    assert one.outcome is Outcome.match
    assert two.outcome is not Outcome.match
    both = {c.vehicle: c.similarity for c in two.candidates["fused"]}
    each = [
        {
            c.vehicle: c.similarity
            for c in sure.identify([VehiclePhoto(photo(n), plate=photo(100 + n))], account="g").decision.candidates[
                "fused"
            ]
        }
        for n in (1, 2)
    ]
    for vehicle, similarity in both.items():
        assert similarity == pytest.approx((each[0][vehicle] + each[1][vehicle]) / 2, abs=1e-6)


def test_a_second_angle_is_enough_to_be_known(sure):
    vehicle_photo = VehiclePhoto(photo(60), plate=photo(160))
    assert sure.identify([vehicle_photo], account="guard").decision.outcome is not Outcome.match
    sure.add_views(2, [vehicle_photo], account="manager")
    assert sure.identify([vehicle_photo], account="guard").decision.vehicle == 2
    assert sure.identify([VehiclePhoto(photo(1), plate=photo(101))], account="guard").decision.vehicle == 2


def test_an_unknown_vehicle_is_enrolled_if_that_is_wanted(sure):
    strict = Threshold(match=1.0, unsure=1.0)
    model, _ = sure.active_model.current()
    sure.models.set_thresholds(model.id, dict.fromkeys(model.libraries, strict), "tester")
    vehicle_photo = VehiclePhoto(photo(70))
    assert sure.identify([vehicle_photo], account="guard").enrolled is None
    answer = sure.identify([vehicle_photo], account="guard", enrol_unknown=True)
    assert answer.decision.outcome is Outcome.unknown
    vehicle = sure.register.vehicle(answer.enrolled)
    assert vehicle.owner_id is None
    assert [view.picture for view in vehicle.views] == answer.images  # kept once
    sure.register.forget(account="manager", vehicle_id=vehicle.id)
    assert not sure.photos.path(answer.images[0]).exists()
    assert sure.register.counts()["sightings"] == 1  # the first one


def test_look_ups_at_once_answer_as_one_after_the_other(sure):
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(
                lambda n: sure.identify([VehiclePhoto(photo(n % 5), plate=photo(100 + n % 5))], account="g"), range(10)
            )
        )
    assert [answer.decision.vehicle for answer in answers] == [n % 5 + 1 for n in range(10)]
    assert len({answer.sighting for answer in answers}) == 10


def test_one_unknown_vehicle_is_enrolled_once_by_look_ups_at_once(sure):
    model, _ = sure.active_model.current()
    same = Threshold(match=0.999999, unsure=0.999999, margin=0.0)
    sure.models.set_thresholds(model.id, dict.fromkeys(model.libraries, same), "tester")
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(lambda _: sure.identify([VehiclePhoto(photo(70))], account="g", enrol_unknown=True), range(4))
        )
    enrolled = [answer.enrolled for answer in answers if answer.enrolled]
    assert len(enrolled) == 1
    assert [answer.decision.vehicle for answer in answers if not answer.enrolled] == enrolled * 3


def test_pictures_are_written_while_another_look_up_is_embedded(sure, monkeypatch):
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
        found = list(looks.map(lambda n: sure.identify([VehiclePhoto(photo(n))], account="g").decision.vehicle, (5, 5)))
    assert found == [6, 6]


def test_boxes_cut_the_vehicle_and_the_plate(sure):
    scene = photo(7, size=(90, 120)).image
    scene.paste(photo(3).image, (10, 20))
    found = sure.identify([VehiclePhoto(Photo(scene, 1.0), vehicle_box=Box(10, 20, 40, 48))], account="guard").decision
    # The scene is written as JPEG, whose blocks lie otherwise in it than in the picture alone.
    assert found.candidates["vehicle"][0].vehicle == 4


def test_a_refused_enrolment_leaves_no_picture(sure):
    before = sorted(path.name for path in sure.photos.folder.iterdir())
    with pytest.raises(DuplicatePlateError):
        sure.enrol(
            [VehiclePhoto(photo(80)), VehiclePhoto(photo(81), plate=photo(82))],
            account="t",
            plate="a-b-0",
            owner=NewOwner("X"),
        )
    with pytest.raises(ValueError, match="outside"):
        sure.enrol([VehiclePhoto(photo(80)), VehiclePhoto(photo(81), plate_box=Box(500, 0, 9, 9))], account="tester")
    assert sorted(path.name for path in sure.photos.folder.iterdir()) == before
    assert sure.register.counts()["owners"] == 0


def test_another_model_takes_over_once_it_has_seen_everything(sure, run_folder, monkeypatch):
    monkeypatch.setattr(embedder, "_BATCH", 2)
    first, _ = sure.active_model.current()
    told = []
    late = []

    def progress(done, total):
        told.append((done, total))
        assert sure.active_model.current()[0].id == first.id  # the old one serves
        if not late:
            late.append(sure.enrol([VehiclePhoto(photo(90))], account="tester"))

    second = sure.active_model.change_to_run(run_folder, "other", "tester", progress)
    assert told[0] == (2, 6)
    assert told[-1][0] == 7
    model, recogniser = sure.active_model.current()
    assert model.id == second.id != first.id
    assert recogniser.digest == second.digest
    assert sure.models.thresholds(model)["fused"].match == 0.9  # thresholds are a model's own
    sure.models.set_thresholds(model.id, dict.fromkeys(model.libraries, SURE), "tester")
    assert sure.identify([VehiclePhoto(photo(2), plate=photo(102))], account="guard").decision.vehicle == 3
    assert sure.identify([VehiclePhoto(photo(90))], account="guard").decision.vehicle == late[0]


def test_an_open_register_follows_a_model_that_another_process_changed(sure, url, run_folder, tmp_path):
    vehicle_photo = VehiclePhoto(photo(2), plate=photo(102))
    assert sure.identify([vehicle_photo], account="guard").decision.vehicle == 3
    other = Identification(tmp_path / "register", url, "cpu")
    other.active_model.change_to_run(run_folder, "other", "manager")
    number = other.enrol([VehiclePhoto(photo(95))], account="manager")
    other.close()
    decision = sure.identify([VehiclePhoto(photo(95))], account="guard").decision
    assert decision.candidates["vehicle"][0].vehicle == number
    assert sure.enrol([VehiclePhoto(photo(96))], account="tester") == number + 1


def test_a_model_comes_with_its_own_network_whatever_another_thread_loads_meanwhile(sure, monkeypatch):
    active = sure.active_model
    model, recogniser = active.current()
    other = SimpleNamespace(digest="another")

    class Changing(str):
        """A digest during whose comparison another thread loads another network."""

        def __ne__(self, digest):
            active._recogniser = other
            return str(self) != str(digest)

        __hash__ = str.__hash__

    monkeypatch.setattr(recogniser, "digest", Changing(recogniser.digest))
    found, network = active.current()
    assert (found.digest, network) == (model.digest, recogniser)


def test_embeddings_are_those_of_the_kept_pictures(sure):
    """What `reembed` would compute: a model that is put back says the same as at enrolment, bit for bit."""
    with sure.database.reading() as session:
        vehicle = session.merge(sure.register.vehicle(3))
        held = {row.library: row.vector for row in vehicle.views[0].embeddings}
    _, recogniser = sure.active_model.current()
    again = recogniser.embed_files([sample_of(sure.photos, sure.register.vehicle(3).views[0])])[0]
    for library, row in held.items():
        np.testing.assert_array_equal(row, again[library])


def test_a_register_without_a_model_says_how_to_get_one(url, tmp_path):
    empty = Identification(tmp_path / "register", url, "cpu")
    with pytest.raises(RegisterError, match="reembed --run"):
        empty.identify([VehiclePhoto(photo(0))], account="guard")
    assert list(empty.photos.folder.iterdir()) == []
    empty.close()


def test_a_picture_that_is_lost_is_named_and_the_rest_goes_on(sure, run_folder):
    first, _ = sure.active_model.current()
    lost = sure.register.vehicle(3).views[0].picture
    kept = sure.photos.path(lost).read_bytes()
    sure.photos.path(lost).unlink()
    with pytest.raises(RegisterError, match=f"1 images cannot be read, .*vehicle 3: {lost}"):
        sure.active_model.change_to_run(run_folder, "other", "tester")
    assert sure.active_model.current()[0].id == first.id
    sure.photos.path(lost).write_bytes(kept)
    assert (
        sure.active_model.change_to_run(run_folder, "other", "tester").id
        == sure.active_model.current()[0].id
        != first.id
    )


def test_a_vehicle_that_is_forgotten_meanwhile_does_not_stop_a_change_of_model(sure, run_folder, monkeypatch):
    monkeypatch.setattr(embedder, "_BATCH", 2)
    embed = Recogniser.embed_files

    def forget_first(self, samples):
        if sure.register.counts()["vehicles"] == 6:
            sure.register.forget(account="t", vehicle_id=1)
        return embed(self, samples)

    monkeypatch.setattr(Recogniser, "embed_files", forget_first)
    second = sure.active_model.change_to_run(run_folder, "other", "tester")
    assert sure.active_model.current()[0].id == second.id
    assert sure.register.counts()["vehicles"] == 5


def test_pictures_and_database_belong_together(sure, tmp_path):
    with pytest.raises(RegisterError, match=r"belongs to another database|is missing"):
        Identification(tmp_path / "register", f"sqlite:///{tmp_path / 'other.sqlite'}", "cpu")
    (tmp_path / "register" / "register.id").unlink()
    with pytest.raises(RegisterError, match="is missing"):
        Identification(
            tmp_path / "register", str(sure.database.engine.url.render_as_string(hide_password=False)), "cpu"
        )
    assert len(list(sure.photos.folder.iterdir())) == 11


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
