"""A made set of pictures for whole federations: small, and different enough from vehicle to vehicle to be learnt."""

import csv
import json
import logging
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path

import absl.logging
import numpy as np
import pytest
import torch
from in_process_grid import InProcessGrid
from PIL import Image

from app import client_app, server_app
from app.core.node_store import NodeStore
from app.core.run_folder import RunFolder
from app.federation import open_client
from app.server_app import run_federation
from app.settings.load import load_settings
from strategies.partial_sync import PartialSync

pytest_plugins = [
    "answered_metrics",
    "browsers",
    "camera_videos",
    "equalise_records",
    "equalise_set",
    "event_receivers",
    "mail_server",
    "kahe_federations",
    "parks_processes",
    "party_folders",
    "policed_site",
    "registers",
    "backups",  # imports the one before, as those after it do
    "corrected_registers",
    "plate_readers",
    "register_tables",
    "slow_search",  # no fixtures, but its assertions say what differs
    "sure_register",
    "web_service",
]
# TensorBoard brings absl, whose handler keeps the standard error that it was imported with, here pytest's file, and
# closes it as soon as a test configures logging: every later test of the process would fail.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__
torch.set_num_threads(1)  # tiny networks: more threads cost more than they bring, above all beside other work

SIDE = 32
VEHICLES = {"a": 5, "b": 3}  # of each site; unequal, so that weights matter
PICTURES = 4

NETWORK = (
    "model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32 model.plate=null "
    "model.embedding_dim=16 model.pooling=average"
)
TRAINING = "device=cpu train.precision=float32 train.threads=1 train.pids_per_batch=4 train.images_per_pid=2"

# Files that take longest, in the order of their start: one that starts last leaves the other processor idle. Those
# with Flower's processes follow files of one process, so that no two of them start at once.
LONGEST = (
    "app/deployment/test_first_answer.py",
    "app/federation/test_layout.py",
    "app/deployment/test_loopback.py",
    "app/deployment/test_monitoring.py",
    "app/synthetic/test_synthetic_difficulty.py",
    "app/experiment/test_simulation.py",
    "scripts/test_bench_service.py",
    "app/federation/test_encrypted_federation.py",
    "scripts/test_plate_benches.py",
    "scripts/test_bench_equalise.py",
    "app/register/test_kills.py",
    "app/cameras/test_camera_kills.py",
    "app/register/test_delivery.py",
    "app/cameras/test_watch.py",
    "app/register/test_importing.py",
    "app/federation/test_equalised_clients.py",
    "scripts/test_privacy_commands.py",
    "app/web/test_stale_answers.py",
    "app/web/test_database_away.py",
    "app/detection/test_detector_training.py",
    "app/tasks/test_plate_text.py",
)


def longest_first(items):
    """Tests of the longest files first; the rest, and the tests of a file, as they were collected."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    return sorted(items, key=lambda item: places.get(item.path, len(places)))


def named_apart(items):
    """The tests, each with an id of its own: xdist runs one of several that share one, as schemathesis' operations do
    with pytest 9.2, whose ids leave the end of their names out."""
    for item in items:
        if not item.nodeid.endswith(item.name):
            item._id = type(item.id).parse(f"{item.parent.nodeid}::{item.name}")
    twice = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"several tests have one id, of which xdist runs one: {', '.join(twice[:3])}")
    return items


def pytest_collection_modifyitems(items):
    items[:] = longest_first(named_apart(items))


def write_set(root: Path, seed: int = 0, vehicles: dict[str, int] | None = None) -> Path:
    """A manifest set: every vehicle has a colour of its own and a plate, two cameras; vehicles by site."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    rows, pid = [], 0
    for split in ("train", "val", "test"):
        for site, count in (vehicles or VEHICLES).items():
            for _ in range(count if split == "train" else 2):
                colour = rng.integers(30, 226, 3)
                for number in range(PICTURES):
                    picture = np.full((SIDE, SIDE, 3), 128 + 20 * (number % 2)) + rng.integers(-12, 13, (SIDE, SIDE, 3))
                    picture[6:28, 4 + number : 26 + number] = colour + rng.integers(-12, 13, (22, 22, 3))
                    name = f"{split}-{pid}-{number}.png"
                    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / name)
                    role = split if split == "train" else f"{split}_{'query' if number < 2 else 'gallery'}"
                    # Queries come from both cameras, and so do the pictures that they are ranked against.
                    rows.append([name, pid, number % 2, role, site, 8, 20, 12, 6])
                pid += 1
    header = ["path", "pid", "camid", "split", "site", "plate_left", "plate_top", "plate_width", "plate_height"]
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return root


@pytest.fixture(scope="session")
def pictures_root(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "rectangles")


@pytest.fixture(scope="session")
def base_overrides(pictures_root):
    """Two clients, one a site, with a network that trains in milliseconds."""
    return (
        f"experiment=quickstart data=manifest data.root={pictures_root} data.partition.by=site data.val_split=val "
        f"{NETWORK} {TRAINING} "
        "federation.num_clients=2 federation.rounds=3 federation.measure_every=1 federation.start_timeout=0.1 "
        "privacy=plain federation.server_optimiser.name=average federation.server_optimiser.nesterov=false "
        "federation.deadline=180 train.epochs=3 evaluation.ranked_lists=0 evaluation.compare=[]"
    )


_compose = lru_cache(load_settings)  # Hydra takes a third of a second, a tiny federation not much more


@pytest.fixture(scope="session", autouse=True)
def compose_once():
    """Server and clients of one process compose the same overrides once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_client, "load_settings", _compose)
        patch.setattr(server_app, "load_settings", _compose)
        yield


@pytest.fixture(autouse=True)
def no_log_of_an_earlier_test():
    """A command that ran in this process leaves a handler behind, whose stream is that test's and is closed."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler and handler not in before:  # pytest's own are other classes
            root.removeHandler(handler)


class LocalFederation:
    """A whole federation in this process: `run` it, stop it, look into what travelled and what stayed.

    Args:
        run_dir: its run folder.
        overrides: of server and clients.
        node_configs: one a node; by default two simulated nodes.
    """

    def __init__(self, run_dir, overrides, node_configs=None):
        self.overrides = f"{overrides} run_dir={run_dir}"
        self.settings = _compose(self.overrides)
        self.folder = RunFolder(Path(run_dir))
        self.node_configs = node_configs or [{"partition-id": i, "num-partitions": 2} for i in range(2)]
        self.grid = None
        own = not self.settings.federation.authority  # it lies in the run folder then
        self.simulated = self.settings.privacy.cipher == "kahe" and own

    def run(self, tamper=lambda _, reply: reply, more="", strategy=PartialSync):
        """Run from new processes, as far as it goes. `tamper(message, reply)` sees each reply, as the grid's does."""
        client_app._make_client.cache_clear()
        overrides = f"{self.overrides} {more}".strip()
        self.grid = InProcessGrid(client_app.app, overrides, self.node_configs, tamper)
        with self.folder:
            run_federation(self.grid, _compose(overrides), self.folder, strategy, simulated=self.simulated)
        return self

    def resume(self, tamper=lambda _, reply: reply):
        return self.run(tamper, "federation.resume=true")

    def stores(self):
        """The node store of each client by name."""
        return {path.parent.name: NodeStore(path) for path in sorted((self.folder.path / "nodes").glob("*/*/"))}

    def held(self, kind, server_round=-1):
        """Arrays of a kind on each client; the latest, unless a round is named."""
        return {
            name: store.read(kind, store.rounds(kind)[-1] if server_round < 0 else server_round)[0]
            for name, store in self.stores().items()
        }

    def lines(self):
        """Metrics without what depends on the clock, and without bytes that a resumed run need not send again."""
        return json.loads(
            json.dumps(self.folder.read_metrics()),
            object_hook=lambda row: {k: v for k, v in row.items() if not k.startswith(("seconds", "bytes_down"))},
        )

    def checkpoint(self):
        arrays, metadata = self.folder.load_arrays("server")
        return arrays["aggregate"].tobytes(), json.loads(metadata["state"])


@pytest.fixture
def make_federation(tmp_path, base_overrides):
    """Makes federations in folders of their own; `changes` are further overrides."""

    def make(name="run", changes="", node_configs=None):
        return LocalFederation(tmp_path / name, f"{base_overrides} {changes}", node_configs)

    return make


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, base_overrides):
    """Four rounds that nothing disturbed."""
    return LocalFederation(tmp_path_factory.mktemp("whole") / "run", f"{base_overrides} federation.rounds=4").run()
