"""App bundles that the sites of a federation may run: the file `allowed-apps`, signed by the authority.

A site runs the code from a server with the rights of its own user. So it runs only bundles with a SHA-256 in this file,
and refuses a file older than one it has used: the older one may list a revoked bundle.
"""

import hashlib
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from app.deployment import parties as p
from app.deployment.changes import check_complete
from app.deployment.parties import DeploymentError, write_file
from models.errors import FedVehicleReidError
from strategies.signing import (
    AUTHORITY_PUBLIC_KEY,
    SIGNING_KEY,
    SigningError,
    new_signing_key,
    public_pem,
    read_signed,
    read_signing_key,
    signed_text,
    write_signing_key,
)

PURPOSE = "allowed-apps/1"
SEEN = "allowed-apps.seen"
"""File in a site's state folder: the newest list used there."""
APPROVE = "python -m scripts.federation approve"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class NotAllowedError(FedVehicleReidError, ValueError):
    """A bundle that this site does not run. The message goes to the server: it names no file of the site."""


@dataclass(frozen=True)
class App:
    """One approved bundle.

    Args:
        sha256: of the bundle's bytes, 64 hexadecimal digits.
        date: of the approval, ISO 8601.
    """

    sha256: str
    name: str
    version: str
    date: str

    def __str__(self) -> str:
        return f"{self.sha256} {self.name} {self.version}, approved {self.date}"


@dataclass(frozen=True)
class AllowedApps:
    """The list. A later one has a larger `serial`."""

    federation: str
    serial: int
    date: str
    apps: tuple[App, ...]

    def holds(self, sha256: str) -> bool:
        """Whether a bundle may be run."""
        return any(app.sha256 == sha256 for app in self.apps)

    @property
    def digest(self) -> str:
        """SHA-256 over the list."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def read_allowed(folder: Path) -> AllowedApps:
    """The list in a party's folder. Raises SigningError naming a file that is missing, damaged or not the
    authority's."""
    path = folder / p.ALLOWED_APPS
    body = read_signed(path, PURPOSE, folder / AUTHORITY_PUBLIC_KEY)
    try:
        apps = tuple(App(**{key: str(value) for key, value in row.items()}) for row in body["apps"])
        found = AllowedApps(str(body["federation"]), int(body["serial"]), str(body["date"]), apps)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SigningError(f"{path} is signed and no list of app bundles") from error
    if not all(_DIGEST.fullmatch(app.sha256) for app in apps):
        raise SigningError(f"{path} lists something else than SHA-256 digests")
    if found.federation != (own := p.read_party(folder).federation):
        raise SigningError(f"{path} is of the federation {found.federation!r}, this folder of {own!r}")
    return found


def check_bundle(content: bytes, site: Path) -> App:
    """The approval of a bundle at a site whose folder is `site`.

    Raises NotAllowedError for the server, and prints file, reason and remedy for the site."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        name = f"{p.read_party(site).name}: "  # the server has only a node's number before a bundle describes the site
    except DeploymentError:
        name = ""
    try:
        check_complete(site)
    except DeploymentError as error:
        _tell(f"refused the app bundle {digest}: {error}")
        raise NotAllowedError(f"{name}this site's files are being changed; its own log says how to end that") from None
    try:
        allowed = read_allowed(site)
        use(allowed, site)
    except (SigningError, DeploymentError, OSError) as error:
        _tell(f"refused the app bundle {digest}: {error}. {_remedy(site)}")
        raise NotAllowedError(
            f"{name}the app bundle {digest[:16]} was not run: this site's list of approved bundles cannot be used; "
            "the site's own log says why"
        ) from None
    for app in allowed.apps:
        if app.sha256 == digest:
            return app
    listed = "; ".join(map(str, allowed.apps)) or "none"
    _tell(
        f"refused the app bundle {digest}: {site / p.ALLOWED_APPS} of {allowed.date} does not list it. "
        f"It lists: {listed}. Nothing of the bundle was run. {_remedy(site)}"
    )
    raise NotAllowedError(
        f"{name}the app bundle {digest[:16]} is not approved at this site and was not run: {APPROVE}, by the authority"
    )


def check_newest(allowed: AllowedApps, site: Path) -> int:
    """The newest serial that the site has used. Raises SigningError for an older list."""
    serial, digest = _seen(site / p.STATE / SEEN)
    if allowed.serial < serial:
        raise SigningError(f"{site / p.ALLOWED_APPS} of {allowed.date} is older than a list that this site has used")
    if allowed.serial == serial and allowed.digest != digest:
        raise SigningError(f"{site / p.ALLOWED_APPS} has the serial of another list: let the authority approve again")
    return serial


def use(allowed: AllowedApps, site: Path) -> None:
    """Record the newest list that a site has used. Raises SigningError for an older one."""
    path = site / p.STATE / SEEN
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with FileLock(str(path.with_suffix(".lock"))):
        if check_newest(allowed, site) < allowed.serial:
            text = json.dumps({"serial": allowed.serial, "digest": allowed.digest})
            write_file(path, text.encode(), p.SECRET)


def with_app(allowed: AllowedApps, app: App) -> AllowedApps:
    """The list with one more bundle; a listed one keeps its place and date."""
    return allowed if allowed.holds(app.sha256) else _next(allowed, (*allowed.apps, app))


def renewed(allowed: AllowedApps) -> AllowedApps:
    """The same list, newer than every one before."""
    return _next(allowed, allowed.apps)


def without_app(allowed: AllowedApps, start: str) -> AllowedApps:
    """The list without the bundle whose digest begins with `start`. Raises DeploymentError unless that is one."""
    found = [app for app in allowed.apps if app.sha256.startswith(start)]
    if not start or len(found) != 1:
        listed = ", ".join(app.sha256 for app in allowed.apps) or "none"
        raise DeploymentError(f"{len(found)} approved bundles begin with {start!r}; approved: {listed}")
    return _next(allowed, tuple(app for app in allowed.apps if app not in found))


def make_list(authority: Path, apps: tuple[App, ...]) -> None:
    """Key pair and first list of a new federation, written for all parties that need them."""
    write_signing_key(new_signing_key(), authority / SIGNING_KEY)
    hand_out(authority, _next(AllowedApps(p.read_party(authority).federation, 0, "", ()), apps))


def current_list(authority: Path) -> AllowedApps:
    """The list in the authority's folder; a federation older than signing keys gets one.

    Raises SigningError for a list or key that is damaged or lost."""
    key, public, listed = (authority / name for name in (SIGNING_KEY, AUTHORITY_PUBLIC_KEY, p.ALLOWED_APPS))
    if not key.exists():
        if public.exists() or listed.exists():
            raise SigningError(
                f"{key} is gone: restore it. If it is lost, delete {public} and {listed}: the next approval makes a "
                "key, and every party needs the new public half"
            )
        write_signing_key(new_signing_key(), key)
    if not public.exists():
        write_file(public, public_pem(read_signing_key(key)), p.PUBLIC)
    if not listed.exists():
        return AllowedApps(p.read_party(authority).federation, 0, "", ())
    return read_allowed(authority)


def hand_out(authority: Path, allowed: AllowedApps) -> list[Path]:
    """Sign a list, and write it into the folders of the federation that lie beside the authority's; the files written,
    the authority's own first."""
    key = read_signing_key(authority / SIGNING_KEY)
    text = signed_text(asdict(allowed), PURPOSE, key).encode()
    written = []
    for folder in (authority, *_beside(authority)):
        write_file(folder / AUTHORITY_PUBLIC_KEY, public_pem(key), p.PUBLIC)
        if p.ALLOWED_APPS in p.read_party(folder).files():
            write_file(folder / p.ALLOWED_APPS, text, p.PUBLIC)
            written.append(folder / p.ALLOWED_APPS)
    return written


def check_list(authority: Path) -> None:
    """Raise an error unless the authority's folder has the files for a further site."""
    for name in (AUTHORITY_PUBLIC_KEY, p.ALLOWED_APPS):
        if not (authority / name).exists():
            raise DeploymentError(f"{authority / name} is missing: {APPROVE} {authority} makes it")
    read_allowed(authority)


def copy_to_site(authority: Path, site: Path) -> None:
    """Public key and list of the authority into the folder of a further site."""
    for name in (AUTHORITY_PUBLIC_KEY, p.ALLOWED_APPS):
        write_file(site / name, (authority / name).read_bytes(), p.PUBLIC)


def _seen(path: Path) -> tuple[int, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return int(found["serial"]), str(found["digest"])
    except FileNotFoundError:
        return 0, ""
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SigningError(
            f"{path} is damaged: make sure that {p.ALLOWED_APPS} is the authority's newest, then delete it"
        ) from error


def _next(allowed: AllowedApps, apps: tuple[App, ...]) -> AllowedApps:
    """List with a new serial, which grows even if the former list was lost: seconds since 1970."""
    serial = max(allowed.serial + 1, int(time.time()))
    return replace(allowed, serial=serial, date=datetime.now(UTC).isoformat(timespec="seconds"), apps=apps)


def _beside(authority: Path) -> list[Path]:
    """Folders of the other parties of the same federation."""
    own = p.read_party(authority).federation
    found = [folder for folder in p.parties_of(authority.parent) if not folder.samefile(authority)]
    return [folder for folder in found if p.read_party(folder).federation == own]


def _remedy(site: Path) -> str:
    return (
        f"Put the authority's newest {p.ALLOWED_APPS} and {AUTHORITY_PUBLIC_KEY} into {site}; "
        f"{APPROVE} makes one that lists a further bundle"
    )


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
