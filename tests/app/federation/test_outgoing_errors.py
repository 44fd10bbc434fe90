"""No error takes the name of an image, or a folder of a site, out of it; the site's own log has all of them."""

import contextlib
import csv
import logging
import shutil

import pytest
from federation_checks import divide
from flwr.app import ConfigRecord, Context, Message, RecordDict

from app import client_app
from app.federation.open_client import NodeConfigError
from app.federation.outgoing_errors import LISTED, SiteError, guarded, is_simulated, outgoing
from app.settings.checks import SettingsError
from strategies import messages as m
from strategies.rounds import FederationError

PLATE = "KA51AB1234"
ERROR = RuntimeError(f"cannot read {PLATE}.jpg")


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)  # to where pytest listens
    return caplog


@pytest.fixture
def make_site(make_federation, pictures_root, tmp_path):
    """A federation of one real site whose images are called after a plate, and its folder."""

    def make(changes=""):
        root = divide(pictures_root, tmp_path)["a"]
        with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            (root / row["path"]).rename(root / f"{PLATE}-{row['path']}")
            row["path"] = f"{PLATE}-{row['path']}"
        write(root, rows)
        node = {"client": "garage", "data": "manifest", "data-root": str(root), "state-dir": str(tmp_path / "state")}
        changes = f"federation.num_clients=1 federation.rounds=1 federation.retries=0 {changes}"
        return make_federation(changes=changes, node_configs=[node]), root, rows

    return make


def write(root, rows):
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def spoil(root, rows, *splits):
    for row in rows:
        if row["split"].startswith(splits):
            (root / row["path"]).write_bytes(b"no picture")


def sent(federation):
    """All that left the site, as text."""
    replies = federation.grid.received
    return "\n".join(str(reply.error.reason) if reply.has_error() else str(reply.content) for reply in replies)


def unreadable_validation(root, rows):
    spoil(root, rows, "val")


def unreadable_training(root, rows):
    spoil(root, rows, "train")


def broken_row(root, rows):
    write(root, [{**rows[0], "pid": f"{PLATE}?"}, *rows[1:]])


def row_without_a_file(root, rows):
    (root / rows[0]["path"]).unlink()
    write(root, [{**rows[0], "path": f"{PLATE}-lost.png"}, *rows[1:]])


def no_folder(root, rows):  # noqa: ARG001
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("damage", "changes"),
    [
        (unreadable_validation, ""),
        (unreadable_training, "data.val_split=''"),
        (unreadable_training, "data.val_split='' train.head_init=centres"),
        (unreadable_training, "data.val_split='' federation.weighting=cosine_distance"),
        (unreadable_training, "data.val_split='' data.equalise.target=median"),
        (broken_row, ""),
        (row_without_a_file, ""),
        (no_folder, ""),
    ],
)
def test_names_of_images_stay_at_the_site(make_site, log, damage, changes):
    federation, root, rows = make_site(changes)
    damage(root, rows)
    with contextlib.suppress(FederationError):  # some cost the site one image and no more
        federation.run()
    if (replies := sent(federation)) and "own log" in replies:
        assert "the server reads less of this error" in log.text
        assert "Traceback" in log.text
    assert federation.grid.received
    assert PLATE not in sent(federation)
    assert str(root) not in sent(federation)
    assert PLATE not in str(federation.folder.read_progress())
    assert PLATE not in str(federation.folder.read_metrics())


MESSAGES = {
    "query": {m.ACTION: m.ACTION_DESCRIBE},
    "train": {m.SERVER_ROUND: 1, m.COEFFICIENT: 1.0},
    "evaluate": {m.SERVER_ROUND: 1, m.MEASURE: True},
}


def ask(kind, node_config):
    config = {m.RUN_KEY: "0" * 16, **MESSAGES[kind]}
    content = RecordDict({m.CONFIG: ConfigRecord(config)})
    return client_app.app(Message(content, 1, kind), Context(1, 1, node_config, RecordDict(), {"overrides": ""}))


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_handler_is_guarded(monkeypatch, log, kind):
    """Whatever stands inside: here the very first thing that a handler does fails."""
    monkeypatch.setattr(client_app, "_client_of", lambda *_: (_ for _ in ()).throw(ERROR))
    with pytest.raises(SiteError, match=r"^garage: RuntimeError; the site's own log says more$") as raised:
        ask(kind, {"client": "garage"})
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert PLATE in log.text
    with pytest.raises(RuntimeError, match=PLATE):
        ask(kind, {"partition-id": 0, "num-partitions": 2})


def test_causes_and_groups_stay_inside():
    """`raise ... from`, notes and groups: only the type of the last raised error is reported."""

    def handler(*_):
        try:
            raise ERROR
        except RuntimeError as error:
            error.add_note(PLATE)
            raise ExceptionGroup(f"two at {PLATE}", [error, ValueError(PLATE)]) from error

    with pytest.raises(SiteError) as raised:
        guarded(handler)(None, Context(1, 1, {"client": "garage"}, RecordDict(), {}))
    assert str(raised.value) == "garage: ExceptionGroup; the site's own log says more"
    assert (raised.value.__context__, getattr(raised.value, "__notes__", None)) == (None, None)


class Derived(SettingsError):
    """Not on the list, though its parent is."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", f"/srv/{PLATE}"), "OSError (No space left on device)"),
        (FileNotFoundError(f"no {PLATE}"), "FileNotFoundError (No such file or directory)"),
        (KeyError(PLATE), "KeyError"),
        (Derived(PLATE), "Derived"),
        (UnicodeDecodeError("utf-8", PLATE.encode(), 0, 1, "bad"), "UnicodeDecodeError"),
    ],
)
def test_others_are_reported_by_their_class(error, said):
    text = outgoing(error, {"client": "garage", "data-root": "/srv", "state-dir": "/var/site"})
    assert text == f"garage: {said}; the site's own log says more"


@pytest.mark.parametrize("kind", sorted(LISTED, key=lambda kind: kind.__name__))
def test_errors_on_the_list_lose_the_sites_folders(kind, tmp_path):
    config = {"client": "garage", "data-root": f"{tmp_path}/x/../data", "state-dir": str(tmp_path / "state")}
    text = outgoing(kind(f"cannot use {tmp_path}/data/a and {tmp_path}/state/node"), config)
    assert text == "garage: cannot use <data-root>/a and <state-dir>/node"


def test_the_runs_own_words_are_named_and_the_sites_are_not():
    client_app._make_client.cache_clear()
    node = (("client", "garage"), ("data", f"{PLATE}-set"))
    with pytest.raises(NodeConfigError):
        client_app._make_client("", node, "0" * 16, 1)
    assert NodeConfigError not in LISTED
    with pytest.raises(SettingsError, match=r"unknown key train\.epoch") as raised:
        client_app._make_client("train.epoch=3", node, "0" * 16, 1)
    assert type(raised.value) in LISTED


@pytest.mark.parametrize(
    ("config", "simulated"),
    [
        ({"partition-id": 0, "num-partitions": 2}, True),
        ({}, False),
        ({"partition-id": 0, "num-partitions": 2, "data-root": "/srv"}, False),
        ({"partition-id": 0, "key-file": "/srv/key"}, False),
        ({"client": "garage"}, False),
    ],
)
def test_a_node_with_anything_of_its_own_is_a_real_one(config, simulated):
    assert is_simulated(config) == simulated


OTHER = "privacy=plain device=cpu data.val_split='' model.pretrained=false"
NAMING = {
    "model.vehicle.pretrained": "",
    "data.equalise.model": "data.equalise.target=3",
    "loss.perceptual_weights": f"experiment=synthetic_night loss.perceptual_edge_weight=1 {OTHER}",
    "model.start": f"experiment=plates_made {OTHER}",
    "data.root": "",
}


@pytest.mark.parametrize("key", NAMING)
def test_a_run_does_not_learn_the_files_of_a_site_without_a_policy(key, base_overrides, pictures_root, tmp_path, log):
    """One answer for a file of another kind, for a name that no file can have, and for a user that is not there."""
    there = tmp_path / "AB123.jpg"
    there.write_bytes(b"no weights")
    node = {"client": "garage", "data": "manifest", "data-root": str(pictures_root), "state-dir": str(tmp_path / "s")}
    if key == "data.root":
        node = {"client": "garage"}
    if key == "model.start":
        node["data-root"] = str(shutil.copytree(pictures_root, tmp_path / "plates"))
        with (pictures_root / "manifest.csv").open(newline="", encoding="utf-8") as file:
            write(tmp_path / "plates", [{**row, "plate_text": "AB123CD"} for row in csv.DictReader(file)])
    base = "" if "experiment=" in NAMING[key] else base_overrides
    said = set()
    for file in (there, "/" + "x" * 300, "~nobody-9/x"):

        def start(*_, file=file):
            overrides = f"{base} {NAMING[key]} {key}={file}"
            return client_app._make_client(overrides, tuple(sorted(node.items())), "0" * 16, 1)

        with pytest.raises(SiteError) as raised:
            guarded(start)(None, Context(1, 1, node, RecordDict(), {}))
        said.add(str(raised.value))
        assert "Traceback" in log.text  # the site's own log says why
        log.clear()
    own = "; the site's own log says"
    assert said == {
        f"garage: DataError{own} more"
        if key == "data.root"
        else f"garage: {key}: the file that it names cannot be used at this site{own} why"
    }
