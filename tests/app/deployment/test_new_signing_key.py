"""A signing key that was lost, or names that were never certified: `approve` and `refresh` mend both."""

import json
import re

import pytest
from app_bundles import small_project

from app.deployment.parties import parties_of, read_party
from app.deployment.site_names import SiteIdentity
from app.deployment.verify import problems
from scripts import federation
from strategies.signing import new_signing_key, public_pem


def lost_key(root):
    for name in ("signing.key", "authority.pub", "allowed-apps"):
        (root / "authority" / name).unlink()


def from_before_names(root):
    lost_key(root)
    for pattern in ("authority.pub", "allowed-apps", "site.cert", "*.cert", "policy.toml"):
        for path in root.rglob(pattern):
            path.unlink()
    told = "\n".join(problems(root / "sites/north"))
    assert "site.cert is missing: python -m scripts.federation approve makes it" in told
    assert "policy.toml is missing: python -m scripts.federation refresh" in told


@pytest.mark.parametrize("change", [lost_key, from_before_names])
def test_sites_can_prove_their_names_with_a_new_signing_key(root, tmp_path, capsys, change):
    """As the page says it: `approve`, then `refresh`."""
    change(root)
    path = small_project(tmp_path / "project")
    federation.main(["approve", str(root), "--project", str(path)])
    *lines, last = capsys.readouterr().out.splitlines()
    certificates = json.loads(last)["certificates"]
    assert {str(root / f"operator/sites/{site}.cert") for site in ("north", "south")} < set(certificates)
    assert any(line.startswith("a new signing key: authority.pub to every party first") for line in lines)
    federation.main(["refresh", str(root)])
    (named,) = re.findall(r'federation\.authority="(\w+)"', (root / "operator/run.sh").read_text())
    for site in ("north", "south"):
        folder = root / "sites" / site
        identity = SiteIdentity.read(
            site,
            key=folder / "site.key",
            certificate=folder / "site.cert",
            authority=folder / "authority.pub",
            key_id=read_party(folder).key_id,
        )
        identity.check_run(named)
    assert [told for folder in parties_of(root) for told in problems(folder)] == []
    federation.main(["approve", str(root), "--project", str(path)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["certificates"] == []


def test_verify_names_a_run_script_that_every_site_refuses(root):
    (root / "operator/authority.pub").write_bytes(public_pem(new_signing_key()))
    (root / "operator/allowed-apps").unlink()
    told = problems(root / "operator")
    assert any(
        "run.sh is not of the authority of authority.pub: python -m scripts.federation refresh" in line for line in told
    )
