"""Approved bundles of versions before restorations were recorded, at a site that was restored: none of them runs."""

import hashlib
import json
from pathlib import Path

import pytest
from app_bundles import small_project
from client_processes import case, run_clients

from app.deployment import bundle
from app.deployment.approval import App, NotAllowedError
from app.deployment.client_process import check_restoration
from app.federation import restored
from scripts import federation

pytestmark = pytest.mark.slow

CODE = """
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

client, server = ClientApp(), None
Path({marker!r}).write_text("imported")

@client.query()
def query(message, context):
    return Message(RecordDict({{"told": ConfigRecord({{"ran": True}})}}), reply_to=message)
"""


def built(folder, marker, *, knows):
    """A bundle with a package `app`, as of the project: its records of shares, and with or without restorations."""
    project = small_project(folder, CODE.format(marker=str(marker)), package="app")
    (project / "app/federation").mkdir()
    for name in ("__init__.py", "share_store.py", *(["restored.py"] if knows else [])):
        (project / "app/federation" / name).write_text("")
    path = folder.with_suffix(".fab")
    path.write_bytes(bundle.build(project))
    return path


@pytest.mark.parametrize("record", ['{"restored": 1800000000.0}', "{"])
def test_a_restored_site_runs_no_bundle_that_does_not_know_it(root, tmp_path, record):
    """The record may be damaged. North was restored, south was not; then north's record is deleted, as after a
    rotation."""
    old = built(tmp_path / "old", tmp_path / "old-ran", knows=False)
    new = built(tmp_path / "new", tmp_path / "new-ran", knows=True)
    for path in (old, new):
        federation.main(["approve", str(root), "--bundle", str(path)])
    north, south = (root / "sites" / name for name in ("north", "south"))
    for site in (north, south):
        (site / "state/node").mkdir(parents=True)
    (north / "state/node/restored.json").write_text(record)
    refused, fine = run_clients([case(north, old), case(north, new)])
    digest = hashlib.sha256(old.read_bytes()).hexdigest()
    said = f"north: the app bundle {digest[:16]} was not run: this site was restored from a backup, and the bundle is "
    assert f"{said}of a version that does not know it: `revoke` it, or `rotate`, by the authority" in refused["error"]
    assert str(root) not in refused["error"]
    assert f"refused the app bundle {digest} tests/small 1.0.0, approved" in refused["log"]
    assert f"delete {north}/state/node/restored.json" in refused["log"]
    assert not (tmp_path / "old-ran").exists()
    assert list((north / "state/apps").iterdir()) == []
    assert fine["reply"] == {"ran": True}

    [elsewhere] = run_clients([case(south, old)])
    assert elsewhere["reply"] == {"ran": True}
    (tmp_path / "old-ran").unlink()
    (north / "state/node/restored.json").unlink()
    [after] = run_clients([case(north, old)])
    assert after["reply"] == {"ran": True}


def test_the_project_s_own_bundle_knows(root, tmp_path):
    """By the place of its module; under another cipher than kahe the module is not needed."""
    approved, site = App("0" * 64, "x", "1", "today"), root / "sites/north"
    (site / "state/node").mkdir(parents=True)
    restored.mark(site / "state/node", 1_800_000_000)
    check_restoration(approved, Path(restored.__file__).parents[2], site)
    with pytest.raises(NotAllowedError, match="north: the app bundle 0000000000000000 was not run"):
        check_restoration(approved, tmp_path, site)
    party = site / "party.json"
    party.write_text(json.dumps({**json.loads(party.read_text()), "cipher": "ckks"}))
    check_restoration(approved, tmp_path, site)
