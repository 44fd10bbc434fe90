"""The wheel in an environment of its own, and in another folder than the checkout."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The programs of a new environment that holds the wheel, and takes the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, PROJECT],
        check=True,
        timeout=300,
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True, timeout=120)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    install = [sys.executable, "-m", "pip", "--python", folder / "env", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True, timeout=300)
    # The libraries only: an entry of a .pth file in that folder, such as the checkout's, is not followed from here.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for here in Path(sysconfig.get_path("scripts")).glob("fl*w*r*"):  # Flower's programs
        there = folder / "env" / "bin" / here.name
        text = here.read_text().splitlines(keepends=True)
        there.write_text(f"#!{folder / 'env' / 'bin' / 'python'}\n" + "".join(text[1:]))
        there.chmod(0o755)
    return folder / "env" / "bin"


def _run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_wheel_simulates_and_measures_elsewhere(installed, tmp_path):
    where = _run(installed / "python", "-c", "import app; print(app.__file__)", cwd=tmp_path)
    assert str(installed.parent) in where.stdout
    tiny = "train.epochs=1 federation.rounds=1 federation.num_clients=2 run_dir=run"
    tiny += "".join(f" data.synthetic.{split}_vehicles_per_site=3" for split in ("train", "val", "test"))
    small = "model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32 model.plate=null"
    small += " model.embedding_dim=8 device=cpu train.threads=1 evaluation.compare=[]"
    done = _run(installed / "fed-vehicle-reid", "simulate", *tiny.split(), *small.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "global" in done.stdout
    (ran,) = json.loads((tmp_path / "run" / "versions.json").read_text())
    assert ran["commit"] is None
    measured = _run(installed / "fed-vehicle-reid", "evaluate", "run=run", cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
    assert "mAP" in measured.stdout


@pytest.mark.slow
def test_the_example_of_a_plug_in_is_installed_and_run(installed, tmp_path):
    """Reader, loss and experiment of docs/examples/plugin, from their wheel."""
    install = [sys.executable, "-m", "pip", "--python", installed.parent, "install", "--quiet", "--no-deps"]
    shutil.copytree(PROJECT / "docs/examples/plugin", tmp_path / "plugin")  # a build leaves folders behind
    subprocess.run([*install, tmp_path / "plugin"], check=True, timeout=300)
    draw = np.random.default_rng(0)
    for split, vehicle, camera in itertools.product(("train", "val", "test"), range(6), range(3)):
        path = tmp_path / "images" / split / str(vehicle) / f"{camera}_x.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((32, 32, 3), 40 * vehicle, np.uint8) + draw.integers(0, 30, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    mine = "hydra.searchpath=[pkg://example_plugin.conf] experiment=folders data.root=images run_dir=run"
    tiny = "train.epochs=1 federation.rounds=1 federation.num_clients=2 train.pids_per_batch=2 train.images_per_pid=2"
    small = "model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32 model.embedding_dim=8"
    words = f"{mine} {tiny} {small} device=cpu train.threads=1 evaluation.compare=[]".split()
    done = _run(installed / "fed-vehicle-reid", "simulate", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "global" in done.stdout
    measured = _run(installed / "fed-vehicle-reid", "evaluate", "run=run", cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout.splitlines()[-1])["data"] == "folders"
    subprocess.run([*install[:5], "uninstall", "--quiet", "-y", "example-plugin"], check=True, timeout=300)
    without = _run(installed / "fed-vehicle-reid", "evaluate", "run=run", cwd=tmp_path)
    assert without.returncode == 2
    assert "loss.metric must be one of" in without.stderr
    assert "plug-in of an installed package; got 'multi_similarity'" in without.stderr


def test_a_package_that_hides_ours_is_named(installed, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    done = _run(installed / "python", "-m", "scripts.simulate", "--help", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"the package app of fed-vehicle-reid is hidden by {tmp_path / 'app'}" in done.stderr
    # The program's own start does not look into the folder where it is called.
    assert _run(installed / "fed-vehicle-reid", "simulate", "--help", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_the_wheel_has_the_pages_with_their_languages_and_style(installed, tmp_path):
    code = "from app.web.language import LANGUAGES; from app.web.static_files import static_files\n"
    code += "print(LANGUAGES[1].translations.gettext('Log in'), *static_files())"
    said = _run(installed / "python", "-c", code, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    found = said.stdout.split()
    assert found[0] == "登录"
    assert {"pico.min.css", "pico.LICENSE.txt", "words.js"} <= set(found)
