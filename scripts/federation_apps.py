"""Commands of `scripts.federation` about code: approved app bundles, and the parties' own scripts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.deployment import approval, bundle, parties, programs, setup, updates
from app.deployment.certify import all_certified
from app.deployment.changes import changing, in_place
from app.deployment.parties import DeploymentError, Kind
from scripts.federation_sites import complete_first, tell_archives
from strategies.signing import AUTHORITY_PUBLIC_KEY, SIGNING_KEY

CHECKOUT = Path(__file__).resolve().parent.parent
Authority = Annotated[Path, typer.Argument(help="The authority's folder, or that of the federation.")]


def approve(
    folder: Authority,
    project: Annotated[Path, typer.Option(help="Checkout from which runs are started.")] = CHECKOUT,
    bundle_file: Annotated[
        Path | None, typer.Option("--bundle", help="A .fab file of `flwr build`, instead of a checkout.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Sign the list anew if it has the bundle: after this folder was restored."),
    ] = False,
) -> None:
    """Let the sites run the code of a checkout: add its app bundle to the signed list of allowed apps."""
    authority = _authority(folder)
    before = updates.serials(authority.parent)
    content = bundle_file.read_bytes() if bundle_file else bundle.build(project)
    app = bundle.describe(content, str(bundle_file or project))
    is_new = not (authority / SIGNING_KEY).exists()
    listed = approval.current_list(authority)
    allowed = approval.renewed(listed) if again and listed.holds(app.sha256) else approval.with_app(listed, app)
    files, certificates = _hand_out(authority, allowed)
    print(f"approved: {app}")
    archives = _tell(authority, before)
    if allowed == listed and not archives:
        print(
            "it was listed already: the newest archives have this list, and none was made. Where this folder was "
            "restored from a backup, parties may have a newer one: --again makes archives that they take"
        )
    if is_new or certificates:
        print(f"a new signing key: {AUTHORITY_PUBLIC_KEY} to every party first, by hand, in place of an old one")
    written = {"files": [str(path) for path in files], "certificates": [str(path) for path in certificates]}
    print(json.dumps({"sha256": app.sha256, "serial": allowed.serial, **written, "archives": archives}))


def revoke(
    folder: Authority,
    sha256: Annotated[str, typer.Argument(help="The bundle's SHA-256, or enough of its beginning.")],
) -> None:
    """Forbid the sites to run a bundle. It takes effect at sites with the new list."""
    authority = _authority(folder)
    before = updates.serials(authority.parent)
    allowed = approval.without_app(approval.current_list(authority), sha256.lower())
    files, _ = _hand_out(authority, allowed)
    print(f"revoked: {sha256}")
    archives = _tell(authority, before)
    print(json.dumps({"serial": allowed.serial, "files": [str(path) for path in files], "archives": archives}))


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
    files = [path for folder in held for path in programs.write_programs(folder)]
    print(json.dumps({"files": [str(path) for path in files]}))


def _authority(folder: Path) -> Path:
    """The authority's folder. Raises DeploymentError for another party's."""
    complete_first(folder)
    held = (folder if (folder / parties.PARTY_FILE).exists() else folder / "authority").resolve()
    if parties.read_party(held).kind is not Kind.authority:
        raise DeploymentError(f"{held} is no authority's folder: the authority alone approves app bundles")
    return held


def _hand_out(authority: Path, allowed: approval.AllowedApps) -> tuple[list[Path], list[Path]]:
    """Write a list for all parties whose folders are here, with certificates of the sites' names by a signing key
    without any yet, and archives; the paths of lists and of certificates."""
    root, key_id = authority.parent, parties.read_party(authority).key_id
    if authority.name != "authority":
        print(f"no archives and certificates: call {authority} `authority`, as `init` did, and approve again")
        return approval.hand_out(authority, allowed), []
    with changing(root) as copy:
        files = approval.hand_out(copy / "authority", allowed)
        certificates = [] if all_certified(copy, key_id) else setup.certify(copy, key_id)
    return in_place(files, copy, root), in_place(certificates, copy, root)


def _tell(authority: Path, before: dict[str, int]) -> list[str]:
    if authority.name == "authority":
        return tell_archives(authority.parent, before)
    print(f"{authority / parties.ALLOWED_APPS}: to every site and the operator, into their folders")
    return []


def add_commands(app: typer.Typer) -> None:
    """Register these commands with `scripts.federation`."""
    for command in (approve, revoke, approved, refresh):
        app.command()(command)
