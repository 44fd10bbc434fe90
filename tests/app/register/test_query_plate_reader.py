"""Plate reader of a register: given, changed, taken away, and what is kept of it."""

import json

import pytest
import torch
from plate_readers import TINY_READER
from registers import photo

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.core.sample import Box, Sample
from app.data.crops import VehicleImage
from app.evaluation.reading_errors import UNMEASURED
from app.register.errors import RegisterError
from app.register.photos import VehiclePhoto
from app.register.plate_reader import ERRORS, by_confidence, measured_errors
from app.settings.checks import SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, save_checkpoint
from app.training.packaged_reader import packaged_errors
from scripts import register as register_command


@pytest.fixture
def url(tmp_path):
    """The look-up is tested on both databases; the rest of this is in neither."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def test_a_real_reader_reads_what_its_task_reads_and_is_renewed(identification, reader_run, tmp_path):
    photo(1, (40, 90)).image.save(tmp_path / "x.png")
    samples = [
        Sample(tmp_path / "x.png", pid=0, camid=0),
        Sample(tmp_path / "x.png", pid=0, camid=0, plate_boxes=(Box(20, 10, 50, 20),)),
    ]
    image = photo(1, (40, 90)).image
    images = [VehicleImage(image), VehicleImage(image, plate_box=Box(20, 10, 50, 20))]
    assert identification.plate_reader.read(images) == []
    found = []
    for name in ("global", "other"):
        identification.plate_reader.use(reader_run, name, "tester")
        task, network = Checkpoint.read(reader_run, name).network(load_settings(TINY_READER))
        readings = task.read(network.eval(), samples, torch.device("cpu"))
        assert readings[0] is None
        expected = by_confidence([(1, readings[1])])
        found.append(identification.plate_reader.read(images))
        assert found[-1] == expected != []
        assert [read.photograph for read in expected] == [1]
    assert found[0] != found[1]
    assert identification.plate_reader.read(images[:1]) == []
    identification.plate_reader.forget("tester")
    assert identification.plate_reader.read(images) == []
    assert [line.action for line in identification.journal.audit(3)] == ["plate reader"] * 3


def test_a_readers_errors_are_measured_on_its_own_plates_and_kept(identification, tmp_path, texts):
    plates = tmp_path / "plates"
    plates.mkdir()
    rows = ["path,pid,camid,split,plate_text,plate_left,plate_top,plate_width,plate_height"]
    for pid, text in enumerate(("AB12", "AB12", "CD34")):
        photo(pid, (40, 90)).image.save(plates / f"{pid}.png")
        rows.append(f"{pid}.png,{pid},0,{'val_query' if pid else 'val_gallery'},{text},20,10,50,20")
    (plates / "manifest.csv").write_text("\n".join(rows) + "\n")
    settings = load_settings(f"{TINY_READER} data.root={plates}")
    task = make_task(settings)
    folder = RunFolder(tmp_path / "run")
    save_checkpoint(folder, "global", float_arrays(task.build(1, 0)), settings, task)
    texts["texts"] = [("A812", 0.7), ("CD3", 0.9), ("AB12", 0.9)]  # of the queries, then of the gallery
    errors = measured_errors(folder.path, "global", "cpu")
    assert errors.confused == {"8": {"B": 1}}
    assert (errors.plates, errors.characters["A"]) == (3, 2)
    assert errors.missing == pytest.approx(2 / 14)  # one of twelve characters, smoothed by one of two
    reader = identification.plate_reader
    assert reader.errors == UNMEASURED
    reader.use(folder.path, "global", "tester", errors)
    assert reader.errors == errors
    (identification.folder / "models" / ERRORS).write_text('{"missing": 2}')
    with pytest.raises(RegisterError, match="no measured errors of a reader: give the register its reader again"):
        _ = reader.errors
    reader.use(folder.path, "global", "tester")
    assert reader.errors == UNMEASURED


def test_checkpoints_of_other_tasks_are_refused_by_name(identification, run_folder, reader_run):
    with pytest.raises(
        ValueError, match=r"global\.safetensors is of the task dual_reid; plates are read by .*plate_text"
    ):
        identification.plate_reader.use(run_folder, "global", "tester")
    assert not identification.plate_reader.is_there
    active = identification.active_model.current()[0].digest
    with pytest.raises(ValueError, match="a network of the task plate_text has no embeddings"):
        identification.active_model.change_to_run(reader_run, "global", "tester")
    assert identification.active_model.current()[0].digest == active


def test_a_reader_that_knows_no_formats_reads_without_them(identification, tmp_path):
    settings = load_settings(f"{TINY_READER} model.decoder=attention")
    task = make_task(settings)
    save_checkpoint(RunFolder(tmp_path / "run"), "global", float_arrays(task.build(1, 0)), settings, task)
    identification.plate_reader.use(tmp_path / "run", "global", "tester")
    image = VehicleImage(photo(1, (40, 90)).image, plate_box=Box(20, 10, 50, 20))
    before = identification.plate_reader.read([image])
    identification.plate_reader.set_country("br", "tester")
    assert identification.plate_reader.read([image]) == before
    with pytest.raises(SettingsError, match=r"country=br needs a reader with model\.decoder=ctc"):
        task.read_images(task.build(1, 0), torch.zeros(1, 3, 32, 64, dtype=torch.uint8), torch.device("cpu"), "br")


def test_the_command_keeps_a_reader_and_takes_it_away(identification, url, reader_run, tmp_path, capsys, texts):
    picture = tmp_path / "x.png"
    photo(1).image.save(picture)
    identification.enrol([VehiclePhoto(photo(2))], account="tester", plate="AB 1234")
    texts["texts"] = [("AB1235", 0.99)]

    def run(*words):
        capsys.readouterr()
        register_command.main([*map(str, words), "--register", str(identification.folder), "--url", url])
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    assert run("plate-reader", reader_run, "--model", "other", "--sure", "0.8") == {
        "reads": True,
        "sure": 0.8,
        "country": None,
    }
    assert not (identification.folder / "models" / ERRORS).exists()  # the run's data is not there
    told = run("identify", picture, "--plate-box", "4,8,20,10")["plate_text"]
    assert (told["text"], told["candidates"]) == ("AB1235", [{"vehicle": 1, "cost": 1, "plate": "AB 1234"}])
    assert run("plate-reader", "--remove") == {"reads": False, "sure": 0.8, "country": None}
    assert run("identify", picture, "--plate-box", "4,8,20,10")["plate_text"] is None
    assert run("plate-reader", "--country", "br")["country"] == "br"
    assert not identification.plate_reader.is_there
    with pytest.raises(RegisterError, match="formats of the plates of 'xx' are not known; known: cn, us"):
        run("plate-reader", "--country", "xx")
    assert run("plate-reader") == {"reads": True, "sure": 0.8, "country": "br"}
    assert identification.plate_reader.errors == packaged_errors()
    assert run("plate-reader", "--country", "")["country"] is None
