"""Commands of `scripts.federation` about code: approved app bundles, and the parties' own scripts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.deployment import approval, bundle, parties, setup
from app.deployment.certify import all_certified
from app.deployment.parties import DeploymentError, Kind
from scripts.federation_sites import complete_first, tell_share_keys
from strategies.signing import AUTHORITY_PUBLIC_KEY

CHECKOUT = Path(__file__).resolve().parent.parent
Authority = Annotated[Path, typer.Argument(help="The authority's folder, or that of the federation.")]


def approve(
    folder: Authority,
    project: Annotated[Path, typer.Option(help="Checkout from which runs are started.")] = CHECKOUT,
    bundle_file: Annotated[
        Path | None, typer.Option("--bundle", help="A .fab file of `flwr build`, instead of a checkout.")
    ] = None,
) -> None:
    """Let the sites run the code of a checkout: add its app bundle to the signed list of allowed apps."""
    authority = _authority(folder)
    content = bundle_file.read_bytes() if bundle_file else bundle.build(project)
    app = bundle.describe(content, str(bundle_file or project))
    allowed = approval.with_app(approval.current_list(authority), app)
    files = approval.hand_out(authority, allowed)
    print(f"approved: {app}")
    _tell(authority)
    made = {"files": files, "certificates": _certify(authority)}
    written = {key: [str(path) for path in paths] for key, paths in made.items()}
    print(json.dumps({"sha256": app.sha256, "serial": allowed.serial, **written}))


def revoke(
    folder: Authority,
    sha256: Annotated[str, typer.Argument(help="The bundle's SHA-256, or enough of its beginning.")],
) -> None:
    """Forbid the sites to run a bundle. It takes effect at sites with the new list."""
    authority = _authority(folder)
    allowed = approval.without_app(approval.current_list(authority), sha256.lower())
    files = approval.hand_out(authority, allowed)
    print(f"revoked: {sha256}")
    _tell(authority)
    print(json.dumps({"serial": allowed.serial, "files": [str(path) for path in files]}))


def approved(
    folder: Annotated[Path, typer.Argument(help="Folder of a site, the operator, the authority or the federation.")],
) -> None:
    """List the bundles that sites may run, from a party's folder."""
    held = folder if (folder / parties.PARTY_FILE).exists() else folder / "authority"
    allowed = approval.read_allowed(held)
    for app in allowed.apps:
        print(app)
    rows = [{"sha256": app.sha256, "name": app.name, "version": app.version, "date": app.date} for app in allowed.apps]
    print(json.dumps({"serial": allowed.serial, "date": allowed.date, "apps": rows}))


def refresh(
    folders: Annotated[list[Path], typer.Argument(help="A party's folder, or that of the federation; or several.")],
) -> None:
    """Renew start.sh, connect.sh, register.sh and run.sh from this version; settings and keys stay."""
    held = [party for folder in folders for party in parties.parties_of(folder)]
    if not held:
        raise DeploymentError(f"{', '.join(map(str, folders))}: no folder of a federation")
    files = [path for folder in held for path in setup.write_programs(folder)]
    print(json.dumps({"files": [str(path) for path in files]}))


def _authority(folder: Path) -> Path:
    """The authority's folder. Raises DeploymentError for another party's."""
    complete_first(folder)
    held = (folder if (folder / parties.PARTY_FILE).exists() else folder / "authority").resolve()
    if parties.read_party(held).kind is not Kind.authority:
        raise DeploymentError(f"{held} is no authority's folder: the authority alone approves app bundles")
    return held


def _certify(authority: Path) -> list[Path]:
    """Certificates of the sites' names by a signing key without any yet; where to copy them is printed."""
    root, key_id = authority.parent, parties.read_party(authority).key_id
    if authority.name != "authority":
        print(f"the sites' names are not certified: call {authority} `authority`, as `init` did, and approve again")
        return []
    if all_certified(root, key_id):
        return []
    files = setup.certify(root, key_id)
    print(f"the sites' names are certified anew: {AUTHORITY_PUBLIC_KEY} to every party, in place of an old one")
    print(f"operator/sites/NAME.cert: to the site NAME, into its folder as {parties.SITE_CERTIFICATE}")
    print(f"operator/{parties.RUN}: to the operator, into the folder there")
    tell_share_keys(root, files)
    return files


def _tell(authority: Path) -> None:
    print(f"{authority / parties.ALLOWED_APPS}: to every site and the operator, into their folders")
    print(f"{AUTHORITY_PUBLIC_KEY} beside it as well, where a folder has none yet; nothing has to be started again")


def add_commands(app: typer.Typer) -> None:
    """Register these commands with `scripts.federation`."""
    for command in (approve, revoke, approved, refresh):
        app.command()(command)
