"""A bundle that differs from the approved one by a byte, on loopback: no site runs any of it."""

import shutil

import pytest
from app_bundles import foreign_project

from scripts import federation
from scripts.bench.loopback import Loopback

pytestmark = pytest.mark.slow
SITES = ("north", "south")


def answers(real, project, name):
    """What the run of a small app gets from each site."""
    real.start_app(project, name)
    real.wait_for(lambda: "foreign app has ended" in real.log(name), f"{name} to end", 300)
    return [line for line in real.log(name).splitlines() if "foreign app was told" in line]


def test_no_site_runs_a_bundle_that_differs_by_one_byte(tmp_path):
    """The app leaves a file wherever a site imports it: `run-a` of the approved one, `run-b` of the changed one."""
    approved = foreign_project(tmp_path / "approved", tmp_path / "run-a", len(SITES))
    changed = shutil.copytree(approved, tmp_path / "changed")
    code = (approved / "foreign/main.py").read_bytes()
    (changed / "foreign/main.py").write_bytes(code.replace(b"/run-a", b"/run-b"))
    assert sum(a != b for a, b in zip(code, (changed / "foreign/main.py").read_bytes(), strict=True)) == 2
    (tmp_path / "images").mkdir()
    (tmp_path / "real").mkdir()
    with Loopback(tmp_path / "real", dict.fromkeys(SITES, tmp_path / "images")) as real:
        federation.main(["approve", str(real.root), "--project", str(approved)])
        real.start_all()
        refused = answers(real, changed, "changed")
        assert not (tmp_path / "run-b").exists()
        for site in SITES:
            assert sum(f"{site}: the app bundle" in line and "was not run" in line for line in refused) == 1, refused
            assert "Nothing of the bundle was run" in real.log(site)
        run = answers(real, approved, "approved")
        assert len(run) == len(SITES)
        assert all("kahe" in line for line in run), run  # what the app asks for: it ran at each site
        assert (tmp_path / "run-a").read_text() == "run"
        assert not (tmp_path / "run-b").exists()
