"""Boxes of a detector in a register. The boxes are given: detection itself is measured elsewhere."""

import io

import pytest
import torch
from foreign_networks import constant_network
from PIL import Image
from registers import photo

from app.core.errors import StoredFileError
from app.core.sample import Box
from app.detection.described import read_foreign
from app.detection.detector_file import build, write_detector
from app.register.detect import DETECTOR, VEHICLES, Finder, state_of
from app.register.photos import Photo, VehiclePhoto
from app.settings.checks import SettingsError
from app.settings.detection import DetectorSettings
from models.detector import PLATE, VEHICLE
from scripts import register as register_command

OURS = DetectorSettings(backbone="test_efficientnet", size=128, vehicle_threshold=0.5, plate_threshold=0.3)
NEAR, FAR = (20, 20, 180, 120), (200, 10, 260, 50)  # left, top, right, bottom
CAR, OTHER = Box(20, 20, 160, 100), Box(200, 10, 60, 40)
ROWS = [
    (FAR, VEHICLE, 0.9),
    (NEAR, VEHICLE, 0.8),
    ((0, 0, 30, 30), VEHICLE, 0.4),  # too unsure
    ((80, 90, 120, 100), PLATE, 0.7),
    ((90, 92, 130, 102), PLATE, 0.6),  # a second one on the same vehicle
    ((280, 100, 299, 110), PLATE, 0.5),  # on no vehicle
    ((220, 40, 240, 46), PLATE, 0.2),  # too unsure
]


def boxes_of(rows):
    corners, labels, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return {
        "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "given": torch.tensor(labels, dtype=torch.int64),
    }


@pytest.fixture
def detector(monkeypatch):
    """A real file whose network finds what the test says."""
    found = {"fcos": ROWS, "coco": []}

    def find(network, images):
        assert images[0].shape[0] == 3
        kind = "coco" if len(network.classes) > 2 else "fcos"
        rows = boxes_of(found[kind])
        return [rows | ({"given": torch.tensor(found["given"])} if kind == "coco" and "given" in found else {})]

    monkeypatch.setattr("models.detector.Detector.find", find)
    return found


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    write_detector(tmp_path / "models" / DETECTOR, build(OURS), OURS)
    return tmp_path / "models"


def test_vehicles_come_largest_first_each_with_its_plate(detector, folder):  # noqa: ARG001
    detections = Finder(folder).find(Photo(Image.new("RGB", (300, 200)), 0.5))  # a file of 600 x 400
    double = [Box(*(2 * value for value in box)) for box in (CAR, OTHER)]
    assert [found.box for found in detections.vehicles] == double
    assert [round(found.score, 3) for found in detections.vehicles] == [0.8, 0.9]
    assert [found.plate for found in detections.vehicles] == [Box(160, 180, 80, 20), None]
    assert detections.plates == (Box(560, 200, 38, 20),)
    assert not detections.fills
    assert detections.plate_of(double[0]) == Box(160, 180, 80, 20)
    assert detections.plate_of(double[1]) is None
    assert detections.plate_of(None) is None  # of which of the two?


def test_a_plate_is_never_given_to_another_vehicle(detector, folder):
    """A small vehicle with a plate stands in front of one that fills the photograph, whose plate was not found."""

    def detections():
        return Finder(folder).find(Photo(Image.new("RGB", (300, 200)), 1.0))

    large, small = ((0, 0, 290, 190), VEHICLE, 0.9), ((200, 100, 280, 160), VEHICLE, 0.8)
    detector["fcos"] = [large, small, ((220, 140, 250, 150), PLATE, 0.7)]
    assert detections().fills
    assert detections().plate_of(None) is None
    assert detections().plate_of(Box(0, 0, 290, 190)) is None
    assert detections().plate_of(Box(202, 101, 78, 60)) == Box(220, 140, 30, 10)
    detector["fcos"] = [large, ((220, 140, 250, 150), PLATE, 0.7)]
    assert detections().plate_of(None) == Box(220, 140, 30, 10)
    detector["fcos"] = [((220, 140, 250, 150), PLATE, 0.7)]
    assert detections().plate_of(None) == detections().plate_of(Box(150, 90, 140, 100)) == Box(220, 140, 30, 10)
    assert detections().plate_of(Box(0, 0, 100, 90)) is None


def test_the_detector_for_vehicles_alone_has_the_say_about_vehicles(detector, folder):
    coco = DetectorSettings(kind="coco")
    write_detector(folder / VEHICLES, build(coco), coco)
    detector["coco"] = [((40, 20, 160, 120), VEHICLE, 0.9)]
    detections = Finder(folder).find(Photo(Image.new("RGB", (300, 200)), 1.0))
    assert [found.box for found in detections.vehicles] == [Box(40, 20, 120, 100)]
    assert detections.vehicles[0].plate == Box(80, 90, 40, 10)


def test_a_finder_needs_a_detector_and_notices_another(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no detector in"):
        Finder(tmp_path)
    assert state_of(tmp_path) == ()
    before = state_of(folder)
    write_detector(folder / VEHICLES, build(OURS), OURS)
    assert state_of(folder) != before


class TestFraming:
    """Photographs at the gate. SQLite alone: nothing of this is in the database."""

    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path / 'register.sqlite'}"

    @pytest.fixture
    def finding(self, identification, detector, tmp_path):  # noqa: ARG002 - it finds what the test says
        write_detector(tmp_path / "d.safetensors", build(OURS), OURS)
        assert identification.framing.use(tmp_path / "d.safetensors", "tester") == "vehicles and plates"
        return identification

    def test_the_largest_vehicle_is_looked_up_unless_another_is_named(self, finding):
        picture = photo(1, (200, 300))
        framed = finding.framing.frame(VehiclePhoto(picture))
        assert (framed.vehicle_photo.vehicle_box, framed.vehicle_photo.plate_box) == (CAR, Box(80, 90, 40, 10))
        assert len(framed.detections.vehicles) == 2
        assert finding.framing.frame(VehiclePhoto(picture, vehicle_box=OTHER)).vehicle_photo.plate_box is None
        assert finding.framing.frame(VehiclePhoto(picture, plate_box=Box(1, 1, 9, 9))).vehicle_photo.plate_box == Box(
            1, 1, 9, 9
        )
        assert finding.framing.frame(VehiclePhoto(picture, plate=photo(2))).vehicle_photo.plate_box is None
        whole = finding.framing.frame(VehiclePhoto(picture, whole=True))
        assert (whole.vehicle_photo.vehicle_box, whole.detections) == (None, None)

    def test_what_is_found_is_what_is_enrolled_and_compared(self, finding):
        """The same vehicle named by hand is the same embedding, and another vehicle of the photograph is not."""
        picture = photo(1, (200, 300))
        number = finding.enrol([VehiclePhoto(picture)], account="tester")
        view = finding.register.vehicle(number).views[0]
        assert tuple(view.vehicle_box) == CAR
        by_hand = VehiclePhoto(picture, vehicle_box=CAR, plate_box=Box(80, 90, 40, 10))
        assert finding.identify([by_hand], account="t").decision.as_dict()["similarity"] == pytest.approx(1.0, abs=1e-5)
        answer = finding.identify([VehiclePhoto(picture, vehicle_box=OTHER)], account="t")
        assert answer.decision.as_dict()["similarity"] < 0.9999
        assert answer.framed[0].vehicle_photo.vehicle_box == OTHER

    def test_a_photograph_without_a_vehicle_is_taken_whole(self, finding, detector):
        detector["fcos"] = []
        framed = finding.framing.frame(VehiclePhoto(photo(1, (200, 300))))
        assert framed.vehicle_photo.vehicle_box is None
        assert framed.detections.vehicles == ()
        detector["fcos"] = [((80, 90, 120, 100), PLATE, 0.7)]
        assert finding.framing.frame(VehiclePhoto(photo(1, (200, 300)))).vehicle_photo.plate_box == Box(80, 90, 40, 10)

    def test_detectors_can_be_given_up(self, finding):
        finding.framing.forget("tester")
        assert finding.framing.frame(VehiclePhoto(photo(1, (200, 300)))).detections is None
        assert [line.action for line in finding.journal.audit(2)] == ["detector", "detector"]

    @pytest.mark.slow
    def test_the_api_tells_where_vehicles_are(self, as_role, finding):  # noqa: ARG002
        client = as_role("guard")
        pixels = photo(5, (200, 300))
        file = io.BytesIO()
        pixels.image.save(file, "PNG")
        upload = [("pictures", ("x.png", file.getvalue(), "image/png"))]
        (row,) = client.post("/api/identify", files=upload).json()["photographs"]
        assert (row["width"], row["height"], row["box"], row["plate_box"]) == (300, 200, [*CAR], [80, 90, 40, 10])
        assert [found["box"] for found in row["vehicles"]] == [[*CAR], [*OTHER]]
        (row,) = client.post("/api/identify", files=upload, data={"boxes": "200,10,60,40"}).json()["photographs"]
        assert row["box"] == [*OTHER]
        (row,) = client.post("/api/identify", files=upload, data={"whole": "true"}).json()["photographs"]
        assert (row["box"], row["vehicles"]) == (None, None)
        (row,) = client.post("/api/identify", files=upload, data={"boxes": ""}).json()["photographs"]
        assert row["box"] == [*CAR]


class TestForeignDetectors:
    """A network of another program in a register: one vehicle, a truck, in the middle of any photograph."""

    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path / 'register.sqlite'}"

    @pytest.fixture
    def network(self, tmp_path):
        """Files of a network in the layout of SSD, and of its description."""
        rows = [[[[0, 8, 0.9, 0.25, 0.2, 0.75, 0.7], [0, 3, 0.8, 0.25, 0.2, 0.75, 0.72], [0, 1, 0.9, 0, 0, 1, 1]]]]
        about = tmp_path / "about.yaml"
        about.write_text("layout: ssd\nwidth: 64\nheight: 64\nclasses: {3: car, 8: truck}\n")
        return constant_network(tmp_path / "n.onnx", rows), about

    @pytest.mark.slow
    def test_the_kind_of_a_vehicle_is_in_the_answer(self, as_role, identification, network):
        client = as_role("guard")
        identification.framing.use_foreign(read_foreign(network[0], None, str(network[1])), "tester")
        file = io.BytesIO()
        photo(5, (200, 300)).image.save(file, "PNG")
        upload = [("pictures", ("x.png", file.getvalue(), "image/png"))]
        (row,) = client.post("/api/identify", files=upload).json()["photographs"]
        assert row["vehicles"] == [{"box": [75, 40, 150, 100], "score": 0.9, "plate_box": None, "kind": "truck"}]
        assert (row["kind"], row["box"]) == ("truck", [75, 40, 150, 100])
        (row,) = client.post("/api/identify", files=upload, data={"boxes": "0,0,60,40"}).json()["photographs"]
        assert row["kind"] is None  # of a vehicle that was not found
        assert "photograph.kind" in client.get("/static/app.js").text

    @pytest.mark.slow
    def test_the_command_keeps_a_network_whole_or_not_at_all(self, run_register, run_folder, network, tmp_path, capsys):
        run_register("reembed", "--run", run_folder)
        folder = tmp_path / "register" / "models"
        kept = sorted(folder.iterdir())
        words = ("detector", "--coco", network[0], "--description")
        wrong = tmp_path / "wrong.yaml"
        wrong.write_text("layout: yolov8\nnum_classes: 80\nwidth: 64\nheight: 64\nclasses: {2: car}\n")
        with pytest.raises(StoredFileError, match="does not fit its description: its output has the shape"):
            run_register(*words, wrong)
        with pytest.raises(SettingsError, match=r"n.onnx needs --description"):
            run_register("detector", "--coco", network[0])
        with pytest.raises(SettingsError, match="belong to a network that --coco names"):
            run_register("detector", network[0], "--description", network[1])
        assert sorted(folder.iterdir()) == kept
        told, _ = run_register(*words, network[1])
        assert told == {"finds": ["vehicles"]}
        assert sorted(folder.iterdir()) == sorted([*kept, folder / VEHICLES])
        photo(1, (200, 300)).image.save(tmp_path / "x.png")
        run_register("enrol", tmp_path / "x.png")
        told, _ = run_register("identify", tmp_path / "x.png")
        assert told["photographs"] == [
            {"modality": "visible", "box": [75, 40, 150, 100], "plate_box": None, "kind": "truck"}
            | {"vehicles": [[75, 40, 150, 100]]}
        ]
        held = (folder / VEHICLES).read_bytes()
        with pytest.raises(StoredFileError, match="does not fit"):
            run_register(*words, wrong)
        assert (folder / VEHICLES).read_bytes() == held
        capsys.readouterr()
        register_command.main([str(word) for word in (*words, network[1])])
        assert "no detector finds plates" in capsys.readouterr().err

    def test_a_network_of_plates_stands_beside_one_of_vehicles(self, identification, network, tmp_path):
        identification.framing.use_foreign(read_foreign(network[0], None, str(network[1])), "tester")
        plates = tmp_path / "plates.yaml"
        plates.write_text("layout: ssd\nwidth: 64\nheight: 64\nclasses: {1: plate}\n")
        path = constant_network(tmp_path / "p.onnx", [[[[0, 1, 0.6, 0.4, 0.5, 0.6, 0.6]]]])
        assert identification.framing.use_foreign(read_foreign(path, None, str(plates)), "tester") == "plates"
        framed = identification.framing.frame(VehiclePhoto(photo(1, (200, 300))))
        box, plate = framed.vehicle_photo.vehicle_box, framed.vehicle_photo.plate_box
        assert box == pytest.approx(Box(75, 40, 150, 100), abs=1e-3)
        assert plate == pytest.approx(Box(120, 100, 60, 20), abs=1e-3)
        assert framed.kind == "truck"
        identification.framing.forget("tester")
        assert identification.framing.frame(VehiclePhoto(photo(1, (200, 300)))).kind is None


def test_torchvisions_detector_tells_kinds_and_finds_a_vehicle_once(detector, folder):
    coco = DetectorSettings(kind="coco")
    write_detector(folder / VEHICLES, build(coco), coco)
    rows = [((40, 20, 160, 120), VEHICLE, 0.9), ((40, 20, 160, 118), VEHICLE, 0.7), ((200, 20, 290, 120), VEHICLE, 0.8)]
    detector["coco"] = rows
    detector["given"] = [6, 8, 4]
    vehicles = Finder(folder).find(Photo(Image.new("RGB", (300, 200)), 1.0)).vehicles
    assert [(found.kind, round(found.score, 1)) for found in vehicles] == [("bus", 0.9), ("motorcycle", 0.8)]
