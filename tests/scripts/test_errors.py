"""Endings of commands: one line and status 2 for what the user can remedy, a traceback and status 1 for a bug."""

import ast
import re
import socket
from collections import Counter
from pathlib import Path

import pytest
import torch

from app.settings.checks import SettingsError
from models.errors import FedVehicleReidError
from scripts import (
    baseline,
    equalise,
    evaluate,
    export,
    federation,
    inspect_data,
    read_plates,
    serve,
    simulate,
    train_detector,
)
from scripts import register as register_command
from scripts.command import command

ROOT = Path(__file__).parents[2]
SMALL = ["data=manifest", "model.vehicle.backbone=test_efficientnet", "model.vehicle.image_size=32", "model.plate=null"]


def ended(main, argv, capsys):
    """Exit status, and the lines on standard error."""
    with pytest.raises(SystemExit) as exit_:
        command(main, list(map(str, argv)))
    return exit_.value.code, capsys.readouterr().err.splitlines()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory, pictures_root):
    """Files and folders by what is wrong with them."""
    root = tmp_path_factory.mktemp("damaged")
    (root / "run").mkdir()
    (root / "run" / "global.safetensors").write_bytes(b"\xff" * 100)
    (root / "run" / "settings.json").write_text("[1")
    (root / "run" / "overrides.txt").write_bytes(b"name=\xff")
    (root / "empty").mkdir()
    (root / "set").mkdir()
    (root / "set" / "manifest.csv").write_text("path,pid,camd,split\n")
    for name in ("table.csv", "weights.pth", "network.onnx", "detector.safetensors", "photo.jpg", "app.fab", "key.pem"):
        (root / name).write_bytes(b"\x00\x01 nothing that anybody wrote")
    return {"root": root, "pictures": pictures_root}


BAD = {
    "a run that is not there": (evaluate.main, "run={root}/none", "run folder not found: {root}/none"),
    "a model that is not there": (evaluate.main, "run={root}/run model=central", "central.safetensors; there are: g"),
    "a damaged checkpoint": (evaluate.main, "run={root}/run", "damaged file {root}/run/global.safetensors"),
    "damaged settings": (evaluate.main, "run={root}/run model=untrained", "{root}/run/settings.json: not JSON"),
    "damaged words of a run": (simulate.main, "resume={root}/run", "{root}/run/overrides.txt: "),
    "no run to resume": (simulate.main, "resume={root}/none", "no run to resume in {root}/none"),
    "an unknown key": (simulate.main, "train.epoch=3", "unknown key train.epoch; did you mean train.epochs?"),
    "no data set": (inspect_data.main, "data=manifest data.root={root}/none", "data.root not found: {root}/none"),
    "no table": (inspect_data.main, "data=manifest data.root={root}/empty", "no manifest: neither {root}/empty"),
    "an unknown column": (inspect_data.main, "data=manifest data.root={root}/set", "unknown column 'camd'; known: "),
    "no table of that kind": (inspect_data.main, "data=manifest data.root={root}/photo.jpg", "a manifest is a .csv"),
    "no such split": (
        baseline.main,
        "{small} mode=central data.root={pictures} data.eval_split=tset",
        "has no split 'tset'",
    ),
    "no images of a set": (inspect_data.main, "data=veri776 data.root={root}/empty", "VeRi-776 folder not found"),
    "more clients than vehicles": (
        simulate.main,
        "{small} data.root={pictures} data.partition.by=identity federation.num_clients=500",
        "cannot be dealt to 500 clients (data.partition.by=identity, federation.num_clients)",
    ),
    "an unknown network": (
        baseline.main,
        "{small} mode=central data.root={pictures} model.vehicle.backbone=resnet5",
        "model.vehicle.backbone: unknown backbone 'resnet5'",
    ),
    "an unknown tag of a network": (
        simulate.main,
        "{small} data.root={pictures} model.vehicle.backbone=resnet18.nobody",
        "model.vehicle.backbone: ",
    ),
    "an unknown option of a network": (
        simulate.main,
        "{small} data.root={pictures} ++model.vehicle.options.depht=3",
        "cannot be built with {{'depht': 3}}",
    ),
    "weights of another kind": (
        baseline.main,
        "{small} mode=central data.root={pictures} model.vehicle.pretrained={root}/weights.pth run_dir={root}/new",
        "model.vehicle.pretrained: cannot read weights file {root}/weights.pth",
    ),
    "a margin that a loss refuses": (
        simulate.main,
        "{small} data.root={pictures} loss.metric=contrastive loss.metric_margin=3",
        "margin must lie in (0, 2], got 3.0",
    ),
    "export of a damaged run": (export.main, "run={root}/run out={root}/new.onnx", "damaged file {root}/run/global"),
    "a run to equalise with": (equalise.main, "run={root}/run", "damaged file {root}/run/global.safetensors"),
    "a reader of plates": (read_plates.main, "run={root}/run {root}", "damaged file {root}/run/global.safetensors"),
    "no register": (register_command.main, "list --register {root}/none", "no register in {root}/none; `reembed"),
    "a damaged network": (
        register_command.main,
        "reembed --onnx {root}/network.onnx --register {root}/new-1",
        "{root}/network.onnx was not written by scripts.export",
    ),
    "a run to recognise with": (
        register_command.main,
        "reembed --run {root}/run --register {root}/new-2",
        "damaged file {root}/run/global.safetensors",
    ),
    "no photograph": (register_command.main, "identify {root}/none.jpg", "no such file: {root}/none.jpg"),
    "a photograph that is none": (register_command.main, "identify {root}/photo.jpg", "photo.jpg"),
    "no table to import": (register_command.main, "import {root}/table.csv", "{root}/table.csv is not a CSV file"),
    "a database that refuses": (
        serve.main,
        "account admin --register {root}/new-3 --url postgresql+psycopg://nobody@127.0.0.1:{closed}/none",
        "cannot be used: ",
    ),
    "a word that is no database": (
        serve.main,
        "account admin --register {root}/new-4 --url none",
        "names no database of a register",
    ),
    "a damaged certificate": (
        serve.main,
        "run --certificate {root}/key.pem --key {root}/key.pem",
        "--certificate {root}/key.pem and --key {root}/key.pem cannot be used",
    ),
    "a port that is taken": (serve.main, "run --port {taken}", "cannot listen on 127.0.0.1, port {taken}"),
    "a folder of no federation": (federation.main, "verify {root}/empty", "{root}/empty is no folder of a federation"),
    "a bundle that is none": (federation.main, "approve {root}/empty --bundle {root}/app.fab", "{root}"),
    "no run to watch": (federation.main, "status {root}/none", "{root}/none"),
    "no state of a site": (federation.main, "model {root}/none", "there is no folder {root}/none"),
    "a key that cannot be kept": (federation.main, "keys --out {root}/photo.jpg", "--out: {root}/photo.jpg"),
    "an unknown network to detect": (
        train_detector.main,
        "{root}/new-5 --backbone none --weights none --device cpu",
        "unknown backbone 'none'",
    ),
    "weights of a detector": (
        train_detector.main,
        "{root}/new-6 --weights {root}/weights.pth --device cpu",
        "cannot read weights file {root}/weights.pth",
    ),
    "no set to detect in": (train_detector.main, "{root}/new-7 --data veri776={root}/empty", "{root}/empty"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_ends_with_one_line(kind, damaged, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PASSWORD", "a long password of nobody")
    main, words, named = BAD[kind]
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        ports = {"taken": taken.getsockname()[1], "closed": closed.getsockname()[1]}
        fill = {**damaged, **ports, "small": " ".join(SMALL)}
        code, lines = ended(main, words.format(**fill).split(), capsys)
    assert code == 2
    (said,) = [line for line in lines if line.startswith("error: ")]
    assert said == lines[-1]
    assert named.format(**fill) in said
    assert not any("Traceback" in line for line in lines)


def fails_with(error):
    def main(_):
        raise error

    return main


def test_a_bug_in_a_command_is_no_typing_error(capsys, monkeypatch):
    """As seen from a command's own parts: here the settings themselves are broken."""
    monkeypatch.setattr(simulate, "load_settings", fails_with(ValueError("boom")))
    for words in (["seed=3"], ["-m", "seed=3,4"]):
        code, lines = ended(simulate.main, words, capsys)
        assert (code, lines[-1]) == (1, "ValueError: boom")
        assert sum(line.startswith("Traceback") for line in lines) == 1


def refuse_a_connection(_):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        socket.create_connection(closed.getsockname())


def take_a_taken_port(_):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        socket.create_server(taken.getsockname())


def open_a_folder(_):
    Path("/").read_bytes()


def fill_the_disk(_):
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")


OOM = "CUDA out of memory. Tried to allocate 2 GiB"
BUGS = [RuntimeError("boom"), ValueError("boom"), KeyError("boom"), TypeError("boom"), OSError("boom"), MemoryError()]
_OF_MACHINE = r"error: \[Errno .*"
REMEDIED = {
    "a setting": (fails_with(SettingsError("seed: no")), "error: seed: no"),
    "a file": (fails_with(FileNotFoundError(2, "No such file", "x")), r"error: \[Errno 2\] No such file: 'x'"),
    "a full GPU": (fails_with(torch.OutOfMemoryError(OOM)), f"error: {re.escape(OOM)}"),
    "a refused connection": (refuse_a_connection, _OF_MACHINE),
    "a taken port": (take_a_taken_port, _OF_MACHINE),
    "a folder in place of a file": (open_a_folder, _OF_MACHINE),
    "a full disk": (fill_the_disk, _OF_MACHINE),
}
ENDINGS = {f"{name} is the user's": (main, 2, last) for name, (main, last) in REMEDIED.items()} | {
    f"{type(bug).__name__} is a bug": (fails_with(bug), 1, f"{type(bug).__name__}(: .*)?") for bug in BUGS
}


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_bug_shows_its_traceback_and_what_the_user_can_remedy_one_line(ending, debug, capsys, monkeypatch):
    """With DEBUG=1 both show the traceback."""
    monkeypatch.setenv("DEBUG", debug)
    main, status, last = ENDINGS[ending]
    code, lines = ended(main, [], capsys)
    assert code == status
    assert re.fullmatch(last, lines[-1])
    if debug or status == 1:
        assert lines[0].startswith("Traceback")
        assert any(f"in {main.__name__}" in line for line in lines)
    else:
        assert len(lines) == 1


def classes():
    """Name and bases of every class at the top of a module of the project."""
    for package in ("app", "models", "scripts", "strategies"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    yield node.name, [ast.unparse(base) for base in node.bases]


def test_every_error_stands_under_one_root_and_has_its_name_alone():
    found = list(classes())
    errors = {name: bases for name, bases in found if name[1:].endswith("Error") and name[0] != "_"}
    root = FedVehicleReidError.__name__
    under = {root}
    while more := {name for name, bases in errors.items() if under & set(bases)} - under:
        under |= more
    assert set(errors) == under
    assert len(errors) > 40
    counts = Counter(name for name, _ in found)
    assert {name: counts[name] for name in (*errors, "PlateReader") if counts[name] > 1} == {}
    assert "Parameters" not in {name for name, _ in found if counts[name] > 1}
