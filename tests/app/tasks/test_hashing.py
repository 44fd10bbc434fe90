"""`model.hashed` of every task: what is sent shrinks, heads stay as they are, a checkpoint embeds as it did."""

import numpy as np
import pytest
import torch
from encrypted_payloads import federation_key
from kahe_rounds import seeds_of
from PIL import Image

from app.core.arrays import float_arrays, shared_layout, statistics_mask
from app.core.sample import Sample
from app.federation.build import make_client_cipher
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples
from app.training.checkpoint import network_of, without_heads
from app.training.optimiser import make_optimiser
from models.hashed import is_bucket, virtual_size
from strategies.ciphers.binding import Binding

SMALL = "device=cpu train.precision=float32 train.threads=1 model.hashed=0.125"
WORDS = {
    "dual_reid": "experiment=quickstart",
    "cross_modal_reid": "experiment=synthetic_night",
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Three vehicles, the second in infrared, the first with a plate."""
    folder, rng = tmp_path_factory.mktemp("vehicles"), np.random.default_rng(0)
    found = []
    for number in range(3):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        plate = path if number == 0 else None
        modality = "infrared" if number == 1 else "visible"
        found.append(Sample(path, number, number, plate_path=plate, modality=modality))
    return found


@pytest.mark.parametrize("task_name", WORDS)
def test_a_hashed_network_sends_less_and_embeds_the_same_from_its_checkpoint(task_name, samples):
    settings = load_settings(f"{WORDS[task_name]} {SMALL}")
    task, whole = make_task(settings), make_task(load_settings(f"{WORDS[task_name]} {SMALL} model.hashed=1"))
    network, dense = task.build(3, 0), whole.build(3, 0)
    sent, all_of_it = (shared_layout(each, settings.federation).size for each in (network, dense))
    assert sent < 0.2 * all_of_it
    assert {n: t.shape for n, t in network.state_dict().items() if "classifier" in n} == {
        n: t.shape for n, t in dense.state_dict().items() if "classifier" in n
    }
    if task_name == "cross_modal_reid":
        stems = [stem.state_dict() for stem in (network.visible_stem, network.infrared_stem)]
        assert all(torch.equal(stems[0][name], stems[1][name]) for name in stems[0])
    decayed = make_optimiser(network, settings.train, []).param_groups
    buckets = {id(parameter) for name, parameter in network.named_parameters() if is_bucket(name)}
    assert buckets == {id(p) for g in decayed if g["weight_decay"] for p in g["params"]} & buckets
    network.eval()
    arrays = without_heads(float_arrays(network), task)
    other, used = network_of(arrays, settings)
    assert not any(name.endswith("buckets") for name in used.state_dict())
    first = embed_samples(task, network, samples).libraries
    second = embed_samples(other, used.eval(), samples).libraries
    for library, rows in first.items():
        # The same weights in float32, and rows of length 1; sums in another order.
        np.testing.assert_allclose(second[library], rows, atol=1e-5)


def test_an_eighth_of_the_reader_travels_in_less_than_half_a_byte_a_weight():
    """With the cipher that is used: bytes of an upload over weights of the dense network.

    The aim of plate reading is 0.4. A network of 107,339 values misses it under `kahe` by 0.03: the shares for the four
    others, which have one size for every network, are a sixth of its upload."""
    settings = load_settings(f"experiment=plates_countries model.start= {SMALL}")
    network = make_task(settings).build(1, 0)
    layout = shared_layout(network, settings.federation)
    statistics = statistics_mask(network, layout)
    cipher = make_client_cipher(settings, statistics, client="client-0", key=federation_key())
    start = layout.flatten(float_arrays(network))
    update = np.random.default_rng(0).normal(size=layout.size).astype(np.float32)
    binding = Binding("0" * 16, layout.digest, 1, 1, tuple(f"client-{i}" for i in range(5)))
    seeds = seeds_of("client-0", binding.cohort, binding)
    sent = cipher.encrypt(update, 0.2, binding, state=cipher.initial_state(start), carried={}, seeds=seeds).payload
    assert virtual_size(network) < 3_000_000
    assert len(sent) / virtual_size(network) < 0.44
