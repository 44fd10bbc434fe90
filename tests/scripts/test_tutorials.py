"""Tutorials, run as they stand: own images to a ranked list, and a photograph to the owner."""

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from in_process_grid import InProcessGrid
from page_blocks import ROOT, blocks, commands
from PIL import Image

from app import client_app
from app.core.run_folder import RunFolder
from app.server_app import run_federation
from app.settings.load import load_settings
from scripts import simulate
from strategies.partial_sync import PartialSync

pytestmark = pytest.mark.slow

PAGES = ROOT / "docs/tutorials"
VEHICLES = [*(f"car-{number}" for number in range(16)), "golf-7", "van-2"]
NAMES = ("gate-1", "gate-2", "gate-3", "yard-1", "yard-2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of eighteen vehicles in colours of their own, two cameras."""
    folder = tmp_path_factory.mktemp("tutorial")
    rng = np.random.default_rng(0)
    for vehicle in VEHICLES:
        colour = rng.integers(30, 226, 3)
        (folder / "images" / vehicle).mkdir(parents=True)
        for name in NAMES:
            noise = rng.integers(-12, 13, (64, 64, 3))
            Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(
                folder / "images" / vehicle / f"{name}.jpg"
            )
    return folder


@pytest.fixture(scope="module")
def printed(folder):
    """What each block of the tutorials printed, by page and place among those that run; the federation runs in this
    process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("REGISTER", "")
        patch.setattr(simulate, "simulate", in_process)
        return {
            (page, place): run(block)
            for page in ("own-images.md", "photograph-to-owner.md")
            for place, block in enumerate(b for b in blocks(PAGES / page) if b.kind in ("sh", "python"))
        }


def in_process(run_dir, overrides, settings, *, on_metrics, superlink):  # noqa: ARG001 - of the function whose place it takes
    """Rounds of a federation without Flower's processes."""
    count = settings.federation.num_clients
    nodes = [{"partition-id": number, "num-partitions": count} for number in range(count)]
    grid = InProcessGrid(client_app.app, overrides, nodes, lambda _, reply: reply)
    with RunFolder(run_dir) as folder:
        run_federation(grid, load_settings(overrides), folder, PartialSync, simulated=True)
    return folder.read_summary()


def run(block):
    """Run a block's commands or its Python; the output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if block.kind == "python":
            exec(compile(block.text, f"{block.page}:{block.line}", "exec"), {})
            return out.getvalue()
        for words in commands(block):
            if words[0] == "export":
                key, _, value = words[1].partition("=")
                os.environ[key] = value
            else:
                importlib.import_module(words[2]).main(words[3:])
    return out.getvalue()


def last_object(text):
    return json.loads(text.strip().splitlines()[-1])


def test_the_table_is_a_data_set_of_two_clients(printed):
    assert printed["own-images.md", 0] == f"{len(VEHICLES) * len(NAMES)} images\n"
    counts = last_object(printed["own-images.md", 1])
    assert sum(client["images"] for client in counts["clients"]) == 12 * len(NAMES)
    assert [client["pids"] for client in counts["clients"]] == [6, 6]


def test_both_models_are_measured(printed):
    for place, names in ((2, {"central"}), (3, {"global", "local"})):
        models = last_object(printed["own-images.md", place])["models"]
        assert models.keys() >= names
        assert all(models[name]["queries"] == 18 for name in names)


def test_an_image_comes_first_in_its_own_list(printed):
    lines = printed["own-images.md", 4].splitlines()
    assert len(lines) == 3
    for line in lines:
        file, first, similarity, *_ = line.split()
        assert file.split("/")[1] == first
        assert similarity == "1.00"


def test_the_register_knows_the_vehicle_and_its_owner(printed):
    found = printed["photograph-to-owner.md", 2].strip().splitlines()
    answer = next(row for line in found if line.startswith("{") and "decision" in (row := json.loads(line)))
    assert (answer["decision"], answer["vehicle"]) == ("match", 1)
    assert json.loads(found[-1])["owner_id"] == 1
    assert "threshold" in last_object(printed["photograph-to-owner.md", 3])
    assert last_object(printed["photograph-to-owner.md", 4])["audit"]


def test_the_notebook_ends_with_a_ranked_list(folder, tmp_path):
    words = ["--to", "notebook", "--execute", "--output-dir", tmp_path, "--output", "done"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    shutil.copy(PAGES / "own-images.ipynb", folder)  # a kernel starts in the notebook's folder
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", *words, folder / "own-images.ipynb"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cells = json.loads((tmp_path / "done.ipynb").read_text())["cells"]
    ranked, shown = (cell["outputs"] for cell in cells[-2:])
    assert "".join(ranked[0]["text"]).count("car-0 1.00") >= 1
    assert any("image/png" in each.get("data", {}) for each in shown)


def test_the_notebook_makes_the_table_as_the_page_does():
    page = [block.text for block in blocks(PAGES / "own-images.md") if block.kind == "python"]
    cells = json.loads((PAGES / "own-images.ipynb").read_text())["cells"]
    assert "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "code")) == page[0].strip()
    assert all(not cell.get("outputs") for cell in cells), "outputs are not kept"
