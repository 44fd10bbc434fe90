"""Versions of the sites' libraries: recorded in the run folder, compared, and refused where they matter."""

import json
import logging

import pytest
from conftest import NETWORK, TRAINING, LocalFederation, write_set

from app.core.versions import installed
from app.federation.site_versions import FILE, SiteVersions
from strategies import messages as m
from strategies.nodes import RefusedError

OWN = {"python": "3.11.2", "fed-vehicle-reid": "0.1.0", "torch": "2.11.0+cpu", "timm": "1.0.15", "flwr": "1.41.0"}
OWN |= {"tenseal": "0.3.16", "numpy": "2.2.0"}


@pytest.fixture
def checks(tmp_path, monkeypatch):
    monkeypatch.setattr("app.federation.site_versions.installed", lambda: OWN)
    return lambda cipher="kahe": SiteVersions(tmp_path, cipher)


def described(**changes):
    rows = {**OWN, **{name.replace("_", "-"): version for name, version in changes.items()}}
    return {m.VERSIONS: [f"{name} {version}" for name, version in rows.items() if version]}


def test_the_same_versions_are_recorded_without_a_word(checks, tmp_path, caplog):
    check = checks()
    for site in ("north", "south"):
        check(site, described())
    assert json.loads((tmp_path / FILE).read_text()) == {"north": OWN, "south": OWN}
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("cipher", "changes", "reason"),
    [
        ("kahe", {"flwr": "1.40.3"}, "flwr 1.40.3 instead of 1.41.0"),
        ("kahe", {"torch": "3.0.0"}, "torch 3.0.0 instead of 2.11.0"),
        ("kahe", {"timm": "1.1.0"}, "timm 1.1.0 instead of 1.0.15"),
        ("kahe", {"timm": None}, "timm missing instead of 1.0.15"),
        ("ckks", {"tenseal": "0.4.0"}, "tenseal 0.4.0 instead of 0.3.16"),
    ],
)
def test_a_difference_that_matters_is_refused_and_recorded(checks, tmp_path, cipher, changes, reason):
    with pytest.raises(RefusedError) as error:
        checks(cipher)("north", described(**changes))
    assert reason in str(error.value)
    assert json.loads((tmp_path / FILE).read_text())["north"].get(next(iter(changes))) == next(iter(changes.values()))


@pytest.mark.parametrize(
    ("cipher", "changes"),
    [
        ("kahe", {"tenseal": "0.4.0"}),
        ("plain", {"tenseal": None}),
        ("ckks", {"tenseal": "0.3.20"}),
        ("kahe", {"torch": "2.12.1+cu128"}),
        ("kahe", {"flwr": "1.41.2"}),
        ("kahe", {"python": "3.12.1"}),
        ("kahe", {"fed_vehicle_reid": "0.2.0"}),
    ],
)
def test_any_other_difference_is_one_line_of_the_log(checks, caplog, cipher, changes):
    check = checks(cipher)
    with caplog.at_level(logging.WARNING, "flwr"):
        check("north", described(**changes))
        check("north", described(**changes))  # as each round asks nodes that were left out
    [name] = (name.replace("_", "-") for name in changes)
    [value] = changes.values()
    assert caplog.messages == [
        f"north has other versions than the server: {name} {value or 'missing'} instead of {OWN[name]}"
    ]


@pytest.mark.parametrize(
    "rows", [None, [], "torch 2", ["torch"], ["torch 2.0\nroot"], [3], ["a 1"] * 33, [f"torch 1{'0' * 60}"]]
)
def test_versions_that_are_none_are_refused(checks, tmp_path, rows):
    with pytest.raises(RefusedError, match="versions"):
        checks()("north", {m.VERSIONS: rows})
    assert not (tmp_path / FILE).exists()


def test_a_resumed_run_keeps_the_sites_before(checks, tmp_path):
    checks()("north", described())
    checks()("south", described())
    assert set(json.loads((tmp_path / FILE).read_text())) == {"north", "south"}
    (tmp_path / FILE).write_text("[{")
    checks()("south", described())
    assert set(json.loads((tmp_path / FILE).read_text())) == {"south"}


def test_a_site_whose_versions_do_not_fit_is_left_out_by_name(tmp_path):
    words = of_two_sites(tmp_path, "privacy=plain federation.quorum=0.5 federation.start_timeout=20")

    def older(_, reply):
        info = reply.content.config_records.get(m.INFO, {})
        if info.get(m.CLIENT) == "client-1" and m.VERSIONS in info:
            info[m.VERSIONS] = ["torch 1.13.0" if row.startswith("torch ") else row for row in info[m.VERSIONS]]
        return reply

    federation = LocalFederation(tmp_path / "run", words).run(older)
    [row] = federation.folder.read_metrics()[0]["left_out"]
    assert row["client"].startswith("client-1")
    assert "its versions do not fit the server's: torch 1.13.0 instead of " in row["reason"]
    kept = json.loads((tmp_path / "run" / FILE).read_text())
    assert (kept["client-0"], kept["client-1"]["torch"]) == (installed(), "1.13.0")


def of_two_sites(folder, more):
    images = write_set(folder / "set")
    words = f"experiment=quickstart data=manifest data.root={images} data.val_split= data.partition.by=site {NETWORK} "
    words += f"{TRAINING} federation.num_clients=2 federation.rounds=1 train.epochs=1 evaluation.compare=[]"
    return f"{words} {more}"


def test_clients_of_a_run_send_theirs_with_the_first_query(tmp_path):
    """A simulation asks for them and keeps none: all its clients are one installation."""
    federation = LocalFederation(tmp_path / "run", of_two_sites(tmp_path, "")).run()
    assert not (tmp_path / "run" / FILE).exists()
    sent = [reply.content.config_records[m.INFO] for reply in federation.grid.received if m.INFO in reply.content]
    rows = [info[m.VERSIONS] for info in sent if m.VERSIONS in info]
    assert rows == [[f"{name} {version}" for name, version in installed().items()]] * 2
