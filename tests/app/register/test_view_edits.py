"""Embeddings, libraries and indexes follow a corrected image, in both databases."""

import numpy as np
import pytest
from registers import photo
from sqlalchemy import select

from app.core.sample import Box
from app.register.corrections import Edit
from app.register.errors import ChangedError
from app.register.identification import Identification
from app.register.matcher import held_vectors
from app.register.photos import VehiclePhoto
from app.register.schema import Embedding
from app.register.view_edits import ViewEdit, correct_view, undo


@pytest.fixture
def number(identification):
    """A vehicle of two images, with plates."""
    photos = [VehiclePhoto(photo(seed), plate=photo(100 + seed)) for seed in (1, 2)]
    return identification.enrol(photos, account="t")


def held(identification, view):
    with identification.database.reading() as session:
        rows = session.scalars(select(Embedding).where(Embedding.view_id == view))
        return {row.library: row.vector for row in rows}


def embedded(identification, vehicle_photo):
    """What the network says of a photograph with these boxes and this modality."""
    _, recogniser = identification.active_model.current()
    framed = identification.framing.frame(vehicle_photo.as_stored())
    [found] = recogniser.embed([framed.image])
    return held_vectors(found, vehicle_photo.modality)


def require_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, vector in expected.items():
        np.testing.assert_allclose(found[name], vector, atol=1e-6)


def nearest(identification, asked, library):
    model, _ = identification.active_model.current()
    index = identification.index(model)
    index.prepare()
    return [(each.vehicle, round(each.similarity, 4)) for each in index.search(library, asked[None], 3)]


def test_embeddings_follow_the_modality_and_the_boxes(identification, number):
    second = identification.register.vehicle(number).views[1].id
    before, asked = held(identification, second), held(identification, second)["vehicle"]
    assert nearest(identification, asked, "vehicle") == [(number, 1.0)]
    box, plate_box = Box(4, 6, 20, 30), Box(5, 30, 12, 6)
    edit = ViewEdit("infrared", box, plate_box)
    assert correct_view(identification, number, second, edit, account="t") == ["modality", "plate_box", "vehicle_box"]
    expected = VehiclePhoto(photo(2), box, photo(102), plate_box, "infrared")
    require_equal(held(identification, second), embedded(identification, expected))
    own = held(identification, second)["vehicle-infrared"]
    assert nearest(identification, own, "vehicle-infrared") == [(number, 1.0)]
    assert nearest(identification, asked, "vehicle") != [(number, 1.0)]  # the first image alone is left there
    assert undo(identification, number, account="t") == "view"
    require_equal(held(identification, second), before)
    assert nearest(identification, asked, "vehicle") == [(number, 1.0)]
    assert identification.corrections.last(number) is None


def test_the_same_values_change_nothing(identification, number):
    version = identification.register.vehicle(number).version
    assert correct_view(identification, number, 1, ViewEdit("visible", (), ()), account="t") == []
    assert identification.register.vehicle(number).version == version


def test_a_change_that_comes_while_the_image_is_embedded_is_not_overwritten(identification, number, monkeypatch):
    real, seen = Identification.embed_view, identification.register.vehicle(number).version

    def late(self, view):
        with monkeypatch.context() as patch:
            patch.setattr(Identification, "embed_view", real)
            correct_view(identification, number, 1, ViewEdit("infrared"), account="other")
        return real(self, view)

    monkeypatch.setattr(Identification, "embed_view", late)
    for version in (seen, None):
        with pytest.raises(ChangedError, match="changed"):
            correct_view(identification, number, 1, ViewEdit(None, Box(1, 1, 9, 9)), account="t", version=version)
        monkeypatch.setattr(Identification, "embed_view", real)
        correct_view(identification, number, 1, ViewEdit("visible"), account="t")
        assert identification.register.vehicle(number).views[0].vehicle_box is None
        monkeypatch.setattr(Identification, "embed_view", late)


def test_an_undo_that_meets_the_correction_of_an_image_says_so(identification, number, monkeypatch):
    """The correction comes between the look at the last change and its undoing."""
    identification.corrections.edit(number, Edit(note="a"), account="t")
    last = identification.corrections.last

    def late(vehicle):
        found = last(vehicle)
        correct_view(identification, number, 1, ViewEdit("infrared"), account="other")
        return found

    monkeypatch.setattr(identification.corrections, "last", late)
    with pytest.raises(ChangedError, match="somebody else changed vehicle"):
        undo(identification, number, account="t")
    assert identification.register.vehicle(number).views[0].modality == "infrared"


def test_a_model_that_is_about_to_become_active_embeds_the_image_again(identification, number):
    model, _ = identification.active_model.current()
    new = identification.models.add("1" * 16, model.libraries, "another", "t")
    waiting = {view.id: {"vehicle": np.ones(8, np.float32)} for view in identification.models.views_without(new.id, 9)}
    identification.models.add_embeddings(new.id, waiting)
    correct_view(identification, number, 1, ViewEdit("infrared"), account="t")
    assert [view.id for view in identification.models.views_without(new.id, 9)] == [1]
