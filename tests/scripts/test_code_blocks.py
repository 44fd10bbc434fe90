"""Every block of code on the pages: a test runs it, reads each of its commands, or a reason stands here."""

import csv
import io
import re
import shlex
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from page_blocks import ROOT, Block, blocks, commands, inline_commands, pages
from parsed_commands import read_command
from PIL import Image

from app.data.readers.reader import open_reader
from app.register.tables import COLUMNS
from app.settings.detector_description import read_description
from app.settings.load import SettingsError

RUN = {
    ("docs/library.md", "python"): "tests/app/test_library_api.py",
    ("docs/federation.md", "python"): "tests/strategies/test_strategy_hooks.py",
    ("docs/cameras.md", "toml"): "tests/app/register/test_event_documents.py",
    ("docs/cameras.md", "python"): "tests/app/cameras/test_camera_documents.py",
    ("docs/first-answer.md", "sh"): "tests/app/deployment/test_first_answer.py",
    ("docs/first-answer.md", "sh stays"): "tests/app/deployment/test_first_answer.py",
    ("docs/first-answer.md", "sh settings"): "tests/app/deployment/test_first_answer.py",
    ("docs/architecture.md", "rooms"): "tests/test_layers.py",
    ("docs/tutorials/own-images.md", "sh"): "tests/scripts/test_tutorials.py",
    ("docs/tutorials/own-images.md", "python"): "tests/scripts/test_tutorials.py",
    ("docs/tutorials/photograph-to-owner.md", "sh"): "tests/scripts/test_tutorials.py",
}
"""Tests that run or read the blocks of a page and kind as they stand there."""

SHOWN = {
    ("README.md", "model  "): "output of `make demo`, eight minutes",
    ("README.md", "   site A"): "a drawing",
    ("docs/benchmarks.md", "model  "): "output of runs of several minutes",
    ("docs/deployment.md", "2026-11-29T"): "lines of a log, whose form tests/app/deployment/test_log_lines.py checks",
    ("docs/equalise.md", "images --pre-model"): "a drawing",
    ("docs/plates.md", '{"file"'): "output of a run",
    ("docs/reference.md", "round 45/45"): "output of the command above it",
    ("docs/tutorials/own-images.md", "images/"): "a tree of folders",
    ("CONTRIBUTING.md", "def _invert"): "lines for `app/settings/augment.py`",
}
"""Blocks that are no commands, by page and begin."""

ELSEWHERE = {
    "git": "the address of the project is the reader's",
    "useradd": "of a server's administrator",
    "mkdir": "of a server's administrator",
    "chown": "of a server's administrator",
    "cp": "of a server's administrator",
    "systemctl": "needs a service manager",
    "curl": "its path and field are checked by tests/app/web and tests/app/deployment/test_first_answer.py",
    "flwr": "tests/scripts/test_wheel.py and tests/app/experiment run Flower's command",
    "./register.sh": "of a party's folder: tests/app/deployment/test_loopback.py",
    "./run.sh": "of a party's folder: tests/app/deployment/test_loopback.py",
    "export": "a variable of the shell",
    ".": "the environment of the checkout",
    "cd": "the folder of the checkout",
}
"""Commands of other programs, and why they are not run here."""

PLACEHOLDERS = {"=NAME": "=two_cam", "=DATA": "=two_cam", "seed=S": "seed=0", "=CIPHER": "=kahe"}
"""Ends of words that stand for the reader's own."""

ALL = [block for page in pages() for block in blocks(page)]


def reason(block: Block) -> str:
    """The reason why a block holds no commands, or ""."""
    return next(
        (why for (page, begin), why in SHOWN.items() if (page, begin) == (block.page, block.first[: len(begin)])), ""
    )


def _commands() -> list[Block]:
    kinds = [block for block in ALL if block.kind in ("", "sh") and (block.page, block.kind) not in RUN]
    return [block for block in kinds if not reason(block) and block not in _TABLES]


def _of(page: str, begin: str) -> Block:
    return next(block for block in ALL if block.page == page and block.first.startswith(begin))


_MANIFEST = _of("docs/data.md", "path,pid,camid,split")
_CORRECTIONS = _of("docs/register.md", "id,plate_text")
_METRICS = _of("docs/register.md", "scrape_configs:")
_DETECTOR = _of("docs/register.md", "layout: yolov8")
_TABLES = [_MANIFEST, _CORRECTIONS, _METRICS, _DETECTOR]


@pytest.mark.parametrize(("place", "test"), RUN.items(), ids=str)
def test_pages_that_a_test_runs_are_read_by_it(place, test):
    page, kind = place
    assert any((block.page, block.kind) == place for block in ALL)
    assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), kind


def test_every_block_is_run_read_or_has_a_reason():
    kinds = [block for block in ALL if (block.page, block.kind) not in RUN and block not in _TABLES]
    left = [f"{block.page}:{block.line}" for block in kinds if block.kind not in ("", "sh") and not reason(block)]
    assert left == []
    unused = [place for place in SHOWN if not any((b.page, b.first[: len(place[1])]) == place for b in ALL)]
    assert unused == []


@pytest.mark.parametrize("block", _commands(), ids=lambda block: f"{block.page}:{block.line}")
def test_commands_of_a_block_could_be_started(block):
    found = commands(block)
    assert found
    if refused := re.search(r"^error: (.*)$", block.text, re.MULTILINE):
        with pytest.raises(SettingsError) as caught:
            read_command(found[0])
        assert str(caught.value) == refused[1]
        return
    for words in found:
        _check(words)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_within_sentences_could_be_started(page):
    for words in inline_commands(page):
        _check(words)


def _check(words: list[str]) -> None:
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):  # a variable of the shell before the command
        words = words[1:]
    program = Path(words[0]).name if "/" in words[0] and not words[0].startswith(".") else words[0]
    if program == "make":
        assert _is_target(words[1]), words[1]
        return
    if program in ("pip", "uv", "pipx"):
        _check_extras(words)
        return
    if program in ELSEWHERE:
        return
    assert program == "fed-vehicle-reid" or words[:2] == ["python", "-m"], shlex.join(words)
    for end, value in PLACEHOLDERS.items():
        words = [word.removesuffix(end) + value if word.endswith(end) else word for word in words]
    try:
        read_command(words)
    except (SettingsError, click.ClickException) as error:
        pytest.fail(f"{shlex.join(words)}: {error}")


def _is_target(name: str) -> bool:
    text = (ROOT / "Makefile").read_text()
    stamp = name == ".venv/.installed" and "$(STAMP):" in text
    return stamp or re.search(rf"^{re.escape(name)}:", text, re.MULTILINE) is not None


def test_a_target_that_the_makefile_lacks_is_found():
    assert _is_target(".venv/.installed")
    assert _is_target("demo")
    assert not _is_target("anything")


def _check_extras(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if found := re.search(r"\[([\w,]+)\]", word):
            assert set(found[1].split(",")) <= extras.keys()


@pytest.mark.parametrize(
    "words",
    [
        "python -m scripts.simulate train.epoch=3",
        "python -m scripts.simulat experiment=two_cam",
        "python -m scripts.evaluate runn=x",
        "python -m scripts.evaluate run=x seed=1",
        "python -m scripts.evaluate run=x weather=snow",
        "python -m scripts.baseline mode=centre experiment=two_cam",
        "python -m scripts.cross_validate folds=1 experiment=roadscene",
        "python -m scripts.export run=x out=network.onx",
        "python -m scripts.export run=x out=network.onnx pictures=many",
        "python -m scripts.register enrol a.jpg --onwer A",
        "python -m scripts.register enroll a.jpg",
        "python -m scripts.federation init --name a --host h",
        "python -m scripts.bench.privacy client=4",
        "python -m scripts.register calibrate data=two_camm",
        "fed-vehicle-reid simulate experiment=quick",
    ],
)
def test_a_command_that_could_not_be_started_is_found(words):
    with pytest.raises((SettingsError, click.ClickException, ImportError)):
        read_command(shlex.split(words))


def test_the_manifest_of_the_page_is_a_data_set(tmp_path):
    (tmp_path / "manifest.csv").write_text(_MANIFEST.text)
    for row in csv.DictReader(io.StringIO(_MANIFEST.text)):
        path = tmp_path / row["path"]
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    reader = open_reader("manifest", tmp_path, seed=0)
    assert len(reader.train()) == 2
    (direction,) = reader.evaluation("test")
    assert (len(direction.query), len(direction.gallery)) == (1, 1)


def test_columns_of_the_register_s_table_exist():
    rows = list(csv.DictReader(io.StringIO(_CORRECTIONS.text)))
    assert len(rows) == 2
    assert set(rows[0]) <= {"id", *COLUMNS}


def test_the_description_of_a_detector_is_read():
    assert read_description(_DETECTOR.text.encode()).layout == "yolov8"


def test_the_scrape_configuration_is_yaml():
    assert yaml.safe_load(_METRICS.text)["scrape_configs"][0]["job_name"] == "register"
