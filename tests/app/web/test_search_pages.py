"""Search and thumbnails through the service: what each role is shown, and what a page of fifty weighs."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from registers import photo, view

from app.register.photos import Photo, as_stored
from app.register.thumbnails import MOST_BYTES, thumbnail, thumbnail_path
from app.synthetic import SceneRenderer

pytestmark = pytest.mark.slow

HTML = {"accept": "text/html"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def test_a_guard_opens_the_vehicle_of_a_whole_plate_and_no_other(identification, as_role):
    guard = as_role("guard")
    image = identification.register.vehicle(1).views[0].picture
    assert guard.get("/api/vehicles/1").status_code == 404
    assert guard.get(f"/api/thumbnails/{image}").status_code == 404
    identification.register.enrol(
        [view(np.random.default_rng(), {"vehicle": 8})],
        model_id=identification.models.active().id,
        account="tester",
        plate="AB 129",
    )
    answer = guard.get("/api/search", params={"q": "ab-12"})
    assert [(hit["vehicle"], hit["found_by"], hit["may_open"]) for hit in answer.json()["hits"]] == [
        (1, "plate", True),
        (3, "plate_begins", False),
    ]
    assert answer.json()["hits"][0]["flat"] == "12"
    assert "A. Resident" not in answer.text
    assert guard.get("/api/vehicles/1").status_code == 200
    assert guard.get(f"/api/thumbnails/{image}").status_code == 200
    assert guard.get("/api/vehicles/3").status_code == 404
    assert guard.get("/api/vehicles/1/owner").status_code == 403


def test_what_is_refused(as_role):
    guard = as_role("guard")
    for q, page, status, words in (
        ("AB", 1, 400, "at least 3 letters or digits of the plate"),
        ("AB 12", 2, 403, "a guard sees one page"),
        ("AB 12", 0, 422, "page"),
        ("a\0b", 1, 422, "holds a character that is not allowed"),
        ("x" * 300, 1, 422, "has 300 characters; the most is 200"),
    ):
        said = guard.get("/api/search", params={"q": q, "page": page})
        assert (said.status_code, words in said.json()["detail"]) == (status, True), said.text
    assert guard.get("/api/search").status_code == 422
    assert guard.get("/api/search", params={"q": "ab 12", "limit": 5}).json()["detail"].startswith("unknown query")
    guard.cookies.clear()
    assert guard.get("/api/search", params={"q": "ab 12"}).status_code == 401


def test_a_manager_finds_by_owner_page_by_page(as_role):
    manager = as_role("manager")
    answer = manager.get("/api/search", params={"q": "resident"}).json()
    assert (answer["page"], answer["pages"], answer["total"], answer["more"]) == (1, 1, 1, False)
    hit = answer["hits"][0]
    assert (hit["vehicle"], hit["found_by"], hit["owner"], hit["flat"]) == (1, "owner", "A. Resident", "12")
    assert manager.get("/api/search", params={"q": "resident", "page": 9}).json()["hits"] == []
    lines = [row for row in as_role("admin").get("/api/audit").json() if row["action"] == "search owners"]
    assert [(row["account"], row["details"]) for row in lines] == [("manager", {"vehicles": [1]})]


@pytest.fixture
def fifty(identification, service):
    """Fifty vehicles with rendered scenes of a phone's size as images, beside the two of the service."""
    renderer = SceneRenderer(320, seed=3)
    scenes = [Image.fromarray(renderer.scene(number).image[..., ::-1]).resize((1600, 1600)) for number in range(3)]
    photos = [as_stored(Photo(scene, 1.0)) for scene in scenes]
    model = identification.models.active()
    for number in range(48):
        name = identification.photos.keep(photos[number % 3])
        new = view(np.random.default_rng(number), {"vehicle": 8}, name)
        identification.register.enrol([new], model_id=model.id, account="tester")
    return service


@pytest.mark.usefixtures("fifty")
def test_the_page_of_fifty_vehicles_weighs_less_than_300_kb(as_role):
    manager = as_role("manager")
    page = manager.get("/register", headers={**HTML, "accept-language": "zh"})
    images = re.findall(r'<img src="(/api/[^"]+)"', page.text)
    assert len(images) == 50
    others = re.findall(r'(?:src|href)="(/(?:static|locales)/[^"]+)"', page.text)
    assert len(others) >= 6
    answers = [page, *(manager.get(path) for path in [*images, *others])]
    assert {answer.status_code for answer in answers} == {200}
    weight = sum(answer.num_bytes_downloaded for answer in answers)  # texts are compressed on their way
    whole = sum(len(manager.get(path.replace("thumbnails", "pictures")).content) for path in images)
    assert weight < 300_000 < whole / 10


def test_a_thumbnail_is_small_whatever_the_image(tmp_path):
    for number, size in enumerate([(1600, 1200), (1600, 8), (40, 40)]):
        path = tmp_path / f"{number:032x}.jpg"
        photo(number, size).image.save(path, quality=95)
        content = thumbnail(path)
        assert len(content) <= MOST_BYTES
        with Image.open(io.BytesIO(content)) as image:
            assert max(image.size) <= 192
        assert thumbnail_path(path).read_bytes() == content
        assert thumbnail_path(path).stat().st_mode & 0o077 == 0
        assert thumbnail_path(path).parent.stat().st_mode & 0o077 == 0
        path.unlink()
        path.touch()
        assert thumbnail(path) == content  # made once


def test_a_thumbnail_goes_with_its_image(identification, as_role):
    manager = as_role("manager")
    image = identification.register.vehicle(1).views[0].picture
    path = thumbnail_path(identification.photos.path(image))
    manager.get(f"/api/thumbnails/{image}")
    assert path.is_file()
    manager.delete("/api/vehicles/1")
    assert not path.exists()
    assert manager.get(f"/api/thumbnails/{image}").status_code == 404


def test_a_thumbnail_that_a_killed_process_left_goes_at_the_next_start(identification):
    image = "0" * 32 + ".jpg"
    path = thumbnail_path(identification.photos.folder / image)
    path.parent.mkdir(exist_ok=True)
    left = [path, path.with_name(f".{image}.77.tmp")]
    for file in left:
        file.write_bytes(b"x")
    identification.register.tidy()
    assert not any(file.exists() for file in left)


def test_a_damaged_image_is_named(identification, as_role):
    manager = as_role("manager")
    image = identification.register.vehicle(2).views[0].picture
    identification.photos.path(image).write_bytes(b"\xff\xd8 no image")
    said = manager.get(f"/api/thumbnails/{image}")
    assert (said.status_code, said.json()["detail"]) == (503, f"the image {image} is damaged")
    assert manager.get("/register", headers=HTML).status_code == 200


def test_a_thumbnail_is_served_where_none_can_be_kept(identification, as_role):
    manager = as_role("manager")
    name = identification.register.vehicle(1).views[0].picture
    thumbnail_path(identification.photos.path(name)).parent.write_bytes(b"a file in place of the folder")
    assert manager.get(f"/api/thumbnails/{name}").status_code == 200
