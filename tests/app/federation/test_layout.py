"""The server learns the layout of a network that it never holds."""

import json
import subprocess
import sys

import numpy as np
import pytest

from app.core.arrays import shared_layout
from app.federation.layout import shared_part
from app.settings.load import load_settings
from app.tasks import make_task

pytestmark = pytest.mark.slow

TINY = "experiment=quickstart model.vehicle.backbone=test_efficientnet model.vehicle.options={} model.plate=null"
SERVER = """
import json, sys
import app.server_app
from app.settings.load import load_settings
from app.federation.layout import shared_part
found = []
for overrides in sys.argv[1:]:
    try:
        layout, statistics = shared_part(load_settings(overrides))
        found.append([layout.names, layout.shapes, statistics.nonzero()[0].tolist()])
    except ValueError as error:
        found.append(str(error))
print(json.dumps({"found": found, "loaded": sorted({"torch", "timm", "matplotlib"} & sys.modules.keys())}))
"""


@pytest.fixture(scope="module")
def told():
    """What a server's process found, and what it had to import."""
    words = [sys.executable, "-c", SERVER, TINY, f"{TINY} model.vehicle.backbone=resnet51"]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def marked(network, layout):
    """Values of the layout that lie in buffers."""
    buffers, arrays = {name for name, _ in network.named_buffers()}, network.state_dict()
    return np.concatenate([np.full(arrays[name].numel(), name in buffers) for name in layout.names])


def test_a_server_without_torch_finds_what_the_network_has(told):
    settings = load_settings(TINY)
    network = make_task(settings).build(1, 0, pretrained=False)
    layout = shared_layout(network, settings.federation)
    names, shapes, statistics = told["found"][0]
    assert names == list(layout.names)
    assert shapes == [list(shape) for shape in layout.shapes]
    assert statistics == marked(network, layout).nonzero()[0].tolist()
    assert told["loaded"] == []


@pytest.mark.parametrize("batch_norm", ["shared", "local"])
def test_a_process_with_torch_finds_the_same(batch_norm):
    settings = load_settings(f"{TINY} federation.batch_norm={batch_norm}")
    network = make_task(settings).build(1, 0, pretrained=False)
    layout, statistics = shared_part(settings)
    assert layout == shared_layout(network, settings.federation)
    np.testing.assert_array_equal(statistics, marked(network, layout))
    assert statistics.any() == (batch_norm == "shared")


def test_a_server_names_what_cannot_be_built(told):
    assert told["found"][1].startswith("model.vehicle.backbone: unknown backbone 'resnet51'; did you mean")
