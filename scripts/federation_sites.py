"""Commands of `scripts.federation` about sites and keys: a site that joins or leaves, rotation, renewal."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from app.deployment import parties, renewal, setup, updates
from app.deployment.changes import DECIDED, MAKING, complete
from app.deployment.owners import as_owner
from app.deployment.parties import DeploymentError
from app.federation.build import cloud_pair, make_secrets
from app.settings.privacy import PrivacySettings
from strategies.ciphers.keys import FederationKey, new_key
from strategies.signing import AUTHORITY_PUBLIC_KEY, SIGNING_KEY, fingerprint, read_public_key

Federation = Annotated[Path, typer.Argument(help="The federation's folder.")]


def add_site(
    folder: Federation,
    site: Annotated[str, typer.Argument(help="The new site's name.")],
    install: Annotated[
        Path | None, typer.Option(help="Its folder of the project; by default as given to `init`.")
    ] = None,
) -> None:
    """Create the folder of one more site."""
    before = serials_first(folder)
    made = setup.add_site(folder, site, install)
    archives = tell_archives(folder, before)
    print(f"then, at the operator: {parties.REGISTER} {site}")
    print(json.dumps({"folder": str(made), "archives": archives}))


def remove_site(
    folder: Federation,
    site: Annotated[str, typer.Argument(help="The name of the site that has left.")],
) -> None:
    """Remove a site that has left; then unregister it at the server and rotate the federation key."""
    before = serials_first(folder)
    setup.remove_site(folder, site)
    archives = tell_archives(folder, before)
    print(f"then, at the operator: {parties.FLWR} supernode unregister NUMBER; nodes.txt has the number of {site}")
    print(f"then: python -m scripts.federation rotate {folder}, whose archives hold this change as well")
    print(json.dumps({"removed": site, "sites": setup.sites_of(folder), "archives": archives}))


def rotate(folder: Federation) -> None:
    """Create a new federation key and new share keys for all sites, for example after one has left. The authority keeps
    the old federation key."""
    before = serials_first(folder)
    owner = parties.read_party(folder / "authority")
    key, cloud = new_federation_keys(owner.cipher, owner.ckks_preset, owner.key_holder)
    changed = renewal.rotate_key(folder, key, cloud)
    archives = tell_archives(folder, before)
    print("a run that has begun is resumed with its own key only")
    print(json.dumps({"key_id": key.key_id, "files": [str(path) for path in changed], "archives": archives}))


def renew(
    folder: Federation,
    server: Annotated[bool, typer.Option("--server", help="The server's certificate alone.")] = False,
    sites: Annotated[bool, typer.Option("--sites", help="The sites' share keys alone.")] = False,
    bind: Annotated[
        str, typer.Option(help="Address at which the server listens (BIND), for its certificate, from now on.")
    ] = "",
) -> None:
    """Prolong what expires: the server's key and certificate, and the authority's statements about the sites' share
    keys. A site without a share key gets one."""
    if server and sites:
        raise DeploymentError("--server and --sites exclude each other; without them both are renewed")
    if bind and sites:
        raise DeploymentError("--bind is for the server's certificate, which --sites leaves as it is")
    before = serials_first(folder)
    renewed: dict[str, object] = {}
    if not sites:
        renewed["certificate"] = str(renewal.renew_server(folder, bind))
    if not server:
        renewed["share_keys"] = [str(path) for path in renewal.renew_share_keys(folder)]
    print(json.dumps({**renewed, "archives": tell_archives(folder, before)}))


def operator_access(
    folder: Federation,
    port: Annotated[int, typer.Option(help="The server's port for the operator; by default the present one.")] = 0,
) -> None:
    """Create a certificate for an operator on another machine than the server, and nginx's settings for it. The
    certificate before is refused from then on."""
    before = serials_first(folder)
    files = renewal.give_access(folder, port)
    archives = tell_archives(folder, before)
    print(f"at the server, {parties.CONTROL} says how nginx takes it")
    print(json.dumps({"files": [str(path) for path in files], "archives": archives}))


def complete_first(folder: Path) -> None:
    """Complete a change that was cut short, and say so; one that was not decided is forgotten."""
    left = any((folder / name).is_dir() for name in (DECIDED, MAKING))
    as_whom = as_owner(folder) if os.geteuid() == 0 and left else nullcontext()
    with as_whom:
        if complete(folder):
            print(f"{folder}: a change of keys that was cut short is complete now")


def serials_first(folder: Path) -> dict[str, int]:
    """Numbers of the archives before a change, after one that was cut short is complete."""
    complete_first(folder)
    return updates.serials(folder)


def tell_archives(root: Path, before: dict[str, int]) -> list[str]:
    """Say which archives a change of the authority made, and where they go; their paths.

    Args:
        before: serial numbers of `updates.serials` before the change.
    """
    made = []
    for name, serial in updates.serials(root).items():
        first, update = (root / folder / f"{name}.tar" for folder in (updates.FIRST_FOLDER, updates.UPDATES_FOLDER))
        if name not in before and first.exists():
            said = _fingerprint(root)
            print(f"{first}: to the machine of {name}, over a safe channel; there, apply it with --first {said}")
            made.append(str(first))
        elif serial != before.get(name) and update.exists():
            print(f"{update}: to {name}, {updates.way(update, root)}; there: python -m scripts.federation apply FILE")
            made.append(str(update))
            if first.exists():
                print(f"{first} has it as well, for a machine without the folder")
    if not made and not (root / "authority" / SIGNING_KEY).exists():
        print(f"no archive was made, as there is no {SIGNING_KEY}: `approve` makes it. Copy the files below by hand")
    return made


def _fingerprint(root: Path) -> str:
    return fingerprint(read_public_key(root / "authority" / AUTHORITY_PUBLIC_KEY))


def new_federation_keys(cipher: str, preset: str, key_holder: str) -> tuple[FederationKey, FederationKey | None]:
    """The clients' key, with a secret for each cipher, and the server's where it decrypts sums."""
    chosen: dict[str, Any] = {"cipher": str(cipher), "ckks_preset": str(preset), "key_holder": str(key_holder)}
    privacy = PrivacySettings(**chosen)
    if key_holder == "cloud":
        server, clients = cloud_pair(privacy)
        return clients, server
    return new_key(make_secrets(privacy)), None


def add_commands(app: typer.Typer) -> None:
    """Register these commands with `scripts.federation`."""
    app.command("add-site")(add_site)
    app.command("remove-site")(remove_site)
    app.command("operator-access")(operator_access)
    for command in (rotate, renew):
        app.command()(command)
