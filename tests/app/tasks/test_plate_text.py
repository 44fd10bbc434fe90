"""The task of plate reading: its network, what it learns, what it measures, whole federations of readers."""

import numpy as np
import pytest
import torch
from conftest import LocalFederation
from PIL import Image
from plate_readers import TINY_READER
from safetensors.numpy import save_file

from app.core.arrays import float_arrays, load_arrays, shared_layout
from app.core.sample import Sample
from app.data.dataset import open_source
from app.data.readers.reader import Direction
from app.evaluation.plate_texts import measure_readings
from app.evaluation.ranking import NoValidQueryError
from app.settings.checks import SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.task import embedding_task
from app.training.checkpoint import network_of
from app.training.packaged_reader import packaged_reader
from app.training.trainer import train
from models.hashed import hash_layers

pytestmark = pytest.mark.slow

WORDS = f"{TINY_READER} train.threads=1 train.batch_size=8"
TEXTS = ("A1", "B2", "皖3", "4C")


FEDERATION = (
    "data.partition.by=site data.val_split=val federation.num_clients=2 federation.rounds=2 federation.measure_every=1 "
    "federation.start_timeout=0.1 federation.deadline=180 train.epochs=2 privacy.max_clients=2 evaluation.compare=[]"
)


@pytest.fixture(scope="module")
def settings():
    return load_settings(WORDS)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Four plates twice: coloured blocks at places of their own."""
    folder = tmp_path_factory.mktemp("plates")
    found = []
    for index in range(8):
        which = index % 4
        picture = np.full((32, 64, 3), 30 * (index // 4), np.uint8)
        picture[8:24, 8 * which : 8 * which + 30, which % 3] = 250
        path = folder / f"{index}.png"
        Image.fromarray(picture).save(path)
        found.append(Sample(path, pid=which, camid=index // 4, plate_path=path, plate_text=TEXTS[which]))
    return found


def learnt(settings, samples, steps=300):
    task = make_task(settings)
    network = task.build(task.num_labels(samples), 0)
    train(
        task,
        network,
        task.batches(samples, 0),
        steps=(0, steps),
        total=steps,
        settings=settings.train,
        data=settings.data,
        compute=task.compute,
        private=[],
    )
    return task, network


def test_views_are_the_same_pixels_in_any_precision(monkeypatch):
    """Places are computed in float32: to the 8 bits of bfloat16 a move by 1 % of the width would be another one."""
    seen = {}
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 64), np.uint8))
    for precision in ("float32", "bfloat16"):
        task = make_task(load_settings(f"{WORDS} train.precision={precision} model.views=3"))
        network = task.build(1, 0)

        def note(given, prior, views, precision=precision):
            seen[precision] = given
            assert (prior, views) == (None, 3)
            return []

        monkeypatch.setattr(network, "read", note)
        task.read_images(network, images, torch.device("cpu"))
    assert len(seen["float32"]) == 6
    assert torch.equal(seen["float32"], seen["bfloat16"].float())


@pytest.mark.parametrize("more", ["", "model.decoder=attention model.max_length=3", "model.hashed=0.25"])
def test_it_learns_to_read_and_measures_what_it_reads(samples, more):
    settings = load_settings(f"{WORDS} {more} train.lr=5e-3")
    task, network = learnt(settings, samples)
    device = torch.device("cpu")
    readings = task.read(network, samples, device)
    assert [reading.text for reading in readings] == [TEXTS[i % 4] for i in range(8)]
    assert network.training
    directions = [
        Direction("first", tuple(samples[:4]), tuple(samples[:4])),
        Direction("all", tuple(samples), tuple(samples)),
    ]
    evaluation = task.evaluate(network, directions, device)
    expected = measure_readings([(r, TEXTS[i % 4]) for i, r in enumerate(readings)])
    assert evaluation.measures == {**expected, "skipped": 0}
    assert evaluation.directions["first"]["queries"] == 4
    assert evaluation.directions["all"] == {**expected, "skipped": 0}


def test_plates_that_nobody_wrote_down_are_counted_and_not_measured(settings, samples, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = Sample(tmp_path / "broken.png", 7, 0, plate_path=tmp_path / "broken.png", plate_text="A1")
    silent = Sample(samples[0].path, 8, 0, plate_path=samples[0].path)
    bare = Sample(samples[0].path, 9, 0, plate_text="A1")
    task = make_task(settings)
    network = task.build(1, 0).eval()
    chosen = (*samples[:2], broken, silent, bare)
    found = task.evaluate(network, [Direction("all", chosen, chosen)], torch.device("cpu"))
    assert (found.measures["queries"], found.measures["skipped"]) == (2, 3)
    assert list(found.bad) == [str(broken.path)]
    with pytest.raises(NoValidQueryError, match="no plate with a text"):
        task.evaluate(network, [Direction("all", (silent,), (silent,))], torch.device("cpu"))
    with pytest.raises(NoValidQueryError, match=rf"can be read: none of 1, {broken.path}$"):
        task.evaluate(network, [Direction("all", (broken, silent), (broken,))], torch.device("cpu"))


def test_a_client_without_a_legible_plate_cannot_learn(settings, samples):
    odd = Sample(samples[0].path, 0, 0, plate_path=samples[0].path, plate_text="Ж1")
    task = make_task(settings)
    with pytest.raises(ValueError, match="none of 1 images has a plate with a text"):
        task.num_labels([odd])
    assert len(task.batches([odd, *samples], 0).samples) == 8
    assert task.learnable([odd, *samples]) == samples
    short = make_task(load_settings(f"{WORDS} model.decoder=attention model.max_length=1"))
    assert short.learnable(samples) == []
    with pytest.raises(SettingsError, match=r"data\.made_plates\.kinds must be one of"):
        make_task(load_settings(f"{WORDS} data.made_plates.share=0.5 data.made_plates.kinds=[xx]")).batches(samples, 0)


def test_the_network_starts_from_a_checkpoint_of_the_same_form(settings, samples, tmp_path):
    task = make_task(settings)
    arrays = float_arrays(task.build(1, 5))
    save_file(arrays, tmp_path / "start.safetensors")
    started = make_task(load_settings(f"{WORDS} model.start={tmp_path}/start.safetensors"))
    assert all((float_arrays(started.build(1, 0))[name] == array).all() for name, array in arrays.items())
    words = f"{WORDS} model.start={tmp_path}/start.safetensors"
    hashed = make_task(load_settings(f"{words} model.hashed=0.5")).build(1, 0)
    expected = hash_layers(task.build(1, 5), 0.5)
    assert all((float_arrays(hashed)[name] == array).all() for name, array in float_arrays(expected).items())
    save_file(float_arrays(hashed), tmp_path / "hashed.safetensors")
    again = make_task(load_settings(f"{WORDS} model.start={tmp_path}/hashed.safetensors model.hashed=0.5")).build(1, 0)
    assert all((float_arrays(again)[name] == array).all() for name, array in float_arrays(hashed).items())
    unlike = make_task(load_settings(f"{words} model.dim=32"))
    with pytest.raises(SettingsError, match=r"model\.start: .*start\.safetensors does not fit: array .* has shape"):
        unlike.build(1, 0)
    absent = make_task(load_settings(f"{WORDS} model.start={tmp_path}/none.safetensors"))
    with pytest.raises(SettingsError, match=r"^model\.start: checkpoint not found"):
        absent.build(1, 0)
    absent.build(1, 0, pretrained=False)
    with pytest.raises(SettingsError, match=r"^model\.start: checkpoint not found"):
        absent.batches(samples, 0)


@pytest.mark.parametrize("hashed", [1.0, 0.25])
def test_the_network_starts_from_the_packaged_reader(hashed):
    words = f"experiment=plates_countries data.root=/tmp model.start=packaged model.hashed={hashed}"
    started = make_task(load_settings(words)).build(1, 3)
    whole = make_task(load_settings("experiment=plates_countries data.root=/tmp model.start=")).build(1, 3)
    load_arrays(whole, packaged_reader().arrays)
    expected = float_arrays(hash_layers(whole, hashed))
    assert all((float_arrays(started)[name] == array).all() for name, array in expected.items())
    with pytest.raises(SettingsError, match=r"model\.start: the packaged reader does not fit: array .* has shape"):
        make_task(load_settings(f"{words} model.dim=32")).build(1, 0)


def test_a_hashed_reader_sends_its_buckets_and_reads_the_same_expanded():
    settings = load_settings(f"{WORDS} model.hashed=0.125")
    task = make_task(settings)
    network = task.build(1, 0).eval()
    whole = make_task(load_settings(WORDS)).build(1, 0)
    layout, dense = (shared_layout(each, settings.federation) for each in (network, whole))
    assert layout.size < 0.4 * dense.size
    assert any(name.endswith(".buckets") for name in layout.names)
    _, used = network_of(float_arrays(network), settings)
    assert not any(name.endswith(".buckets") for name in used.state_dict())
    pictures = torch.randn(2, 3, 32, 64)
    # float32 sums in another order: 1e-5 of scores of size 1
    assert torch.allclose(network(pictures).logits, used.eval()(pictures).logits, atol=1e-5)


def test_what_it_cannot_do_is_refused_in_words(settings):
    task = make_task(settings)
    with pytest.raises(ValueError, match="a network of the task plate_text has no embeddings"):
        embedding_task(task)
    assert not {"libraries", "embeddings"} & set(dir(task))
    with pytest.raises(SettingsError, match=r"model\.dim must be a multiple of 4"):
        load_settings(f"{WORDS} model.dim=6")
    with pytest.raises(SettingsError, match=r"model\.decoder must be one of"):
        load_settings(f"{WORDS} model.decoder=beam")


def test_probes_are_of_unit_length(settings, samples):
    task = make_task(settings)
    network = task.build(1, 0)
    before = float_arrays(network)
    rows = task.probe(network, samples, torch.device("cpu"))
    assert all((array == before[name]).all() for name, array in float_arrays(network).items())
    assert network.training
    assert rows.shape == (8, 16)
    assert len(task.probe(network, [Sample(samples[0].path, 0, 0)], torch.device("cpu"))) == 0
    assert torch.allclose(rows.norm(dim=1), torch.ones(8), atol=1e-5)


def test_readings_are_drawn(settings, samples, tmp_path):
    task = make_task(settings)
    network = task.build(1, 0).eval()
    direction = Direction("all", tuple(samples), tuple(samples))
    task.ranked_lists(network, direction, torch.device("cpu"), tmp_path / "readings.png", 5, 0)
    with Image.open(tmp_path / "readings.png") as picture:
        assert picture.width > 500


def test_a_federation_of_readers(samples, tmp_path):
    """Two countries, encrypted, the output layer at home or shared: the global model is measured by its accuracy."""
    rows = [["path", "pid", "site", "split", "plate_path", "plate_text"]]
    for index, sample in enumerate(samples):
        split = ("train", "val_query", "val_gallery")[0 if index < 6 else index - 5]
        rows.append([str(sample.path), sample.pid, "ab"[index % 2], split, str(sample.path), sample.plate_text])
    (tmp_path / "manifest.csv").write_text("\n".join(",".join(map(str, row)) for row in rows), encoding="utf-8")
    words = f"{WORDS} data.root={tmp_path} {FEDERATION}"
    federation = LocalFederation(tmp_path / "shared", words).run()
    line = federation.folder.read_metrics()[1]  # the first round starts from random values
    assert len(line["clients"]) == 2
    settings = federation.settings
    first, second = (arrays["vector"] for arrays in federation.held("global").values())
    assert (first == second).all()
    local = LocalFederation(tmp_path / "local", f"{words} federation.private=[head.*]").run()
    heads = list(local.held("private").values())
    assert all(any("head.weight" in name for name in arrays) for arrays in heads)
    network = make_task(settings).build(1, settings.seed)
    names = shared_layout(network, local.settings.federation).names
    assert "head.weight" not in names
    load_arrays(network, shared_layout(network, settings.federation).unflatten(first))
    final = federation.folder.read_summary()["measures"]
    directions = open_source(settings.data, settings.seed).evaluation("val")
    measured = make_task(settings).evaluate(network, directions, torch.device("cpu")).measures
    # Each client measures the plates of its own site; two plates, one each.
    assert final["global_character_error_rate"] == pytest.approx(measured["character_error_rate"])
    assert final["global_accuracy"] == pytest.approx(measured["accuracy"])
    assert line["measures"]["global_queries"] == 1


def test_a_stretch_of_training_does_not_depend_on_the_random_state(settings, samples):
    """A run that is resumed in another process learns the same."""
    states = []
    for seed in (0, 1):
        task = make_task(settings)
        network, batches = task.build(1, 0), task.batches(samples, 0)
        optimiser = None
        for steps in ((0, 2), (2, 4)):
            torch.manual_seed(seed)
            report = train(
                task,
                network,
                batches,
                steps=steps,
                total=4,
                settings=settings.train,
                data=settings.data,
                compute=task.compute,
                private=[],
                optimiser=optimiser,
            )
            optimiser = report.optimiser
        states.append(float_arrays(network))
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def test_a_placeholder_is_no_text(settings, samples):
    odd = Sample(samples[0].path, 0, 0, plate_path=samples[0].path, plate_text="???")
    task = make_task(settings)
    network = task.build(1, 0)
    found = task.evaluate(network, [Direction("all", (odd, *samples), (odd,))], torch.device("cpu"))
    assert (found.measures["queries"], found.measures["skipped"]) == (8, 1)
    with pytest.raises(NoValidQueryError):
        task.evaluate(network, [Direction("all", (odd,), (odd,))], torch.device("cpu"))
