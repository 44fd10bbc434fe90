"""Changes of the active model: every image is embedded again, and the old model serves meanwhile."""

from types import SimpleNamespace

import numpy as np
import pytest
from registers import photo
from sure_register import SURE

from app.register import embedder
from app.register.embedder import Recogniser, sample_of
from app.register.errors import RegisterError
from app.register.identification import Identification
from app.register.photos import VehiclePhoto


def test_another_model_takes_over_once_it_has_seen_everything(sure_register, run_folder, monkeypatch):
    monkeypatch.setattr(embedder, "_BATCH", 2)
    first, _ = sure_register.active_model.current()
    told = []
    late = []

    def progress(done, total):
        told.append((done, total))
        assert sure_register.active_model.current()[0].id == first.id  # the old one serves
        if not late:
            late.append(sure_register.enrol([VehiclePhoto(photo(90))], account="tester"))

    second = sure_register.active_model.change_to_run(run_folder, "other", "tester", progress)
    assert told[0] == (2, 6)
    assert told[-1][0] == 7
    model, recogniser = sure_register.active_model.current()
    assert model.id == second.id != first.id
    assert recogniser.digest == second.digest
    assert sure_register.models.thresholds(model)["fused"].match == 0.9  # thresholds are a model's own
    sure_register.models.set_thresholds(model.id, dict.fromkeys(model.libraries, SURE), "tester")
    assert sure_register.identify([VehiclePhoto(photo(2), plate=photo(102))], account="guard").decision.vehicle == 3
    assert sure_register.identify([VehiclePhoto(photo(90))], account="guard").decision.vehicle == late[0]


def test_an_open_register_follows_a_model_that_another_process_changed(sure_register, url, run_folder, tmp_path):
    vehicle_photo = VehiclePhoto(photo(2), plate=photo(102))
    assert sure_register.identify([vehicle_photo], account="guard").decision.vehicle == 3
    other = Identification(tmp_path / "register", url, "cpu")
    other.active_model.change_to_run(run_folder, "other", "manager")
    number = other.enrol([VehiclePhoto(photo(95))], account="manager")
    other.close()
    decision = sure_register.identify([VehiclePhoto(photo(95))], account="guard").decision
    assert decision.candidates["vehicle"][0].vehicle == number
    assert sure_register.enrol([VehiclePhoto(photo(96))], account="tester") == number + 1


def test_a_model_comes_with_its_own_network_whatever_another_thread_loads_meanwhile(sure_register, monkeypatch):
    active = sure_register.active_model
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


def test_embeddings_are_those_of_the_kept_pictures(sure_register):
    """What `reembed` would compute: a model that is put back says the same as at enrolment, bit for bit."""
    with sure_register.database.reading() as session:
        vehicle = session.merge(sure_register.register.vehicle(3))
        held = {row.library: row.vector for row in vehicle.views[0].embeddings}
    _, recogniser = sure_register.active_model.current()
    again = recogniser.embed_files([sample_of(sure_register.photos, sure_register.register.vehicle(3).views[0])])[0]
    for library, row in held.items():
        np.testing.assert_array_equal(row, again[library])


def test_a_register_without_a_model_says_how_to_get_one(url, tmp_path):
    empty = Identification(tmp_path / "register", url, "cpu")
    with pytest.raises(RegisterError, match="reembed --run"):
        empty.identify([VehiclePhoto(photo(0))], account="guard")
    assert list(empty.photos.folder.iterdir()) == []
    empty.close()


def test_a_picture_that_is_lost_is_named_and_the_rest_goes_on(sure_register, run_folder):
    first, _ = sure_register.active_model.current()
    lost = sure_register.register.vehicle(3).views[0].picture
    kept = sure_register.photos.path(lost).read_bytes()
    sure_register.photos.path(lost).unlink()
    with pytest.raises(RegisterError, match=f"1 images cannot be read, .*vehicle 3: {lost}"):
        sure_register.active_model.change_to_run(run_folder, "other", "tester")
    assert sure_register.active_model.current()[0].id == first.id
    sure_register.photos.path(lost).write_bytes(kept)
    assert (
        sure_register.active_model.change_to_run(run_folder, "other", "tester").id
        == sure_register.active_model.current()[0].id
        != first.id
    )


def test_a_vehicle_that_is_forgotten_meanwhile_does_not_stop_a_change_of_model(sure_register, run_folder, monkeypatch):
    monkeypatch.setattr(embedder, "_BATCH", 2)
    embed = Recogniser.embed_files

    def forget_first(self, samples):
        if sure_register.register.counts()["vehicles"] == 6:
            sure_register.register.forget(account="t", vehicle_id=1)
        return embed(self, samples)

    monkeypatch.setattr(Recogniser, "embed_files", forget_first)
    second = sure_register.active_model.change_to_run(run_folder, "other", "tester")
    assert sure_register.active_model.current()[0].id == second.id
    assert sure_register.register.counts()["vehicles"] == 5
