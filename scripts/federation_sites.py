"""Commands of `scripts.federation` about sites and keys: a site that joins or leaves, rotation, renewal."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from app.deployment import parties, renewal, setup
from app.deployment.changes import complete
from app.deployment.parties import DeploymentError
from app.federation.build import make_secrets
from app.settings.privacy import PrivacySettings
from strategies.ciphers.keys import FederationKey, new_key

Federation = Annotated[Path, typer.Argument(help="The federation's folder.")]


def add_site(
    folder: Federation,
    site: Annotated[str, typer.Argument(help="The new site's name.")],
    install: Annotated[
        Path | None, typer.Option(help="Its folder of the project; by default as given to `init`.")
    ] = None,
) -> None:
    """Create the folder of one more site."""
    complete_first(folder)
    made = setup.add_site(folder, site, install)
    party = parties.read_party(made)
    print(f"{made}: to the site {site}, as {Path(party.install) / party.unit}, over a safe channel")
    names = f"{site}.pub, sites/{site}.cert, sites/{site}{parties.SHARE_END}, {parties.REGISTER} and {parties.RUN}"
    print(f"{folder / 'operator'}: sites/{names} to the operator; then {parties.REGISTER} {site} there")
    print(json.dumps({"folder": str(made)}))


def remove_site(
    folder: Federation,
    site: Annotated[str, typer.Argument(help="The name of the site that has left.")],
) -> None:
    """Remove a site that has left; then unregister it at the server and rotate the federation key."""
    complete_first(folder)
    setup.remove_site(folder, site)
    scripts = f"{parties.REGISTER} and {parties.RUN}"
    print(f"{folder / 'operator'}: {scripts} to the operator; there, delete sites/{site}.*, and")
    print(f"  {parties.FLWR} supernode unregister NUMBER, with the number that nodes.txt has for {site}")
    print(f"then: python -m scripts.federation rotate {folder}, and distribute the new keys")
    print(json.dumps({"removed": site, "sites": setup.sites_of(folder)}))


def rotate(folder: Federation) -> None:
    """Create a new federation key and new share keys for all sites, for example after one has left. The authority keeps
    the old federation key."""
    complete_first(folder)
    key = new_federation_key()
    changed = renewal.rotate_key(folder, key)
    files = f"{parties.FEDERATION_KEY}, {parties.SITE_CERTIFICATE} and {parties.PARTY_FILE}"
    print(f"to every site: {files}")
    print(
        f"  one whose folder is not here gets the authority's {parties.FEDERATION_KEY}, operator/sites/NAME.cert as its"
    )
    print(f"  {parties.SITE_CERTIFICATE}, and writes the key id below into its {parties.PARTY_FILE}")
    print(f"to the server: {parties.PARTY_FILE}")
    print(f"to the operator: {parties.RUN}, sites/*.cert, sites/*{parties.SHARE_END} and {parties.PARTY_FILE}")
    tell_share_keys(folder, changed)
    print("a run that has begun is resumed with its own key only")
    print(json.dumps({"key_id": key.key_id, "files": [str(path) for path in changed]}))


def renew(
    folder: Federation,
    server: Annotated[bool, typer.Option("--server", help="The server's certificate alone.")] = False,
    sites: Annotated[bool, typer.Option("--sites", help="The sites' share keys alone.")] = False,
) -> None:
    """Prolong what expires: the server's key and certificate, and the authority's statements about the sites' share
    keys. A site without a share key gets one."""
    if server and sites:
        raise DeploymentError("--server and --sites exclude each other; without them both are renewed")
    complete_first(folder)
    renewed: dict[str, object] = {}
    if not sites:
        certificate = renewal.renew_server(folder)
        print(f"{certificate} and {parties.SERVER_KEY} beside it: to the server, which has to be started again")
        if parties.read_party(folder / "authority").control_port:
            print("at the server, reload nginx as well: systemctl reload nginx")
        renewed["certificate"] = str(certificate)
    if not server:
        files = renewal.renew_share_keys(folder)
        tell_share_keys(folder, files)
        renewed["share_keys"] = [str(path) for path in files]
    print(json.dumps(renewed))


def operator_access(
    folder: Federation,
    port: Annotated[int, typer.Option(help="The server's port for the operator; by default the present one.")] = 0,
) -> None:
    """Create a certificate for an operator on another machine than the server, and nginx's settings for it. The
    certificate before is refused from then on."""
    complete_first(folder)
    files = renewal.give_access(folder, port)
    for party, way in (("operator", "over a safe channel"), ("server", f"{parties.CONTROL} says how nginx takes it")):
        names = ", ".join(path.name for path in files if path.parent.name == party)
        print(f"{folder / party}: {names} to the {party}, {way}")
    print(json.dumps({"files": [str(path) for path in files]}))


def complete_first(folder: Path) -> None:
    """Complete a change that was cut short, and say so."""
    if complete(folder):
        print(f"{folder}: a change of keys that was cut short is complete now")


def tell_share_keys(root: Path, files: Iterable[Path]) -> None:
    """Say where to copy share keys and statements; each private key by its site, so that none goes to another."""
    written = set(files)
    for key in sorted(path for path in written if path.name == parties.SHARE_KEY):
        print(f"{key} and {parties.SHARE_CERTIFICATE} beside it: to the site {key.parent.name}, over a safe channel")
    with_key = {path.parent.name for path in written if path.name == parties.SHARE_KEY}
    at_operator = root / "operator" / "sites"
    for path in sorted(path for path in written if path.parent == at_operator and path.suffix == parties.SHARE_END):
        if path.stem not in with_key:
            print(f"{path}: to the site {path.stem}, into its folder as {parties.SHARE_CERTIFICATE}")


def new_federation_key() -> FederationKey:
    """With a secret for each cipher at its default parameters."""
    return new_key(make_secrets(PrivacySettings()))


def add_commands(app: typer.Typer) -> None:
    """Register these commands with `scripts.federation`."""
    app.command("add-site")(add_site)
    app.command("remove-site")(remove_site)
    app.command("operator-access")(operator_access)
    for command in (rotate, renew):
        app.command()(command)
