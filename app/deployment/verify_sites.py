"""Checks of certificates of sites' names and statements of their share keys, at a site and at the operator, who has
those of all sites with their public keys."""

import contextlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from app.deployment import approval
from app.deployment import parties as p
from app.deployment.certificates import CertificateError, public_line
from app.deployment.parties import Kind, Party
from app.deployment.party_fields import NAME
from app.deployment.site_names import SiteNames
from app.federation.share_key_files import read_statement
from strategies.share_keys import ShareKeyRules, Statement
from strategies.signing import AUTHORITY_PUBLIC_KEY, SigningError, read_public_key

WARN_DAYS = 30
RENEW_SITES = "python -m scripts.federation renew FOLDER --sites"
_PUBLIC, _CERTIFICATE = ".pub", ".cert"


def sites_at_operator(party: Party, folder: Path) -> Iterator[str]:
    """One sentence for each problem of the files of sites at the operator: keys, names and share keys."""
    if party.kind is not Kind.operator:
        return
    sites = sorted(path.stem for path in (folder / "sites").glob(f"*{_PUBLIC}"))
    yield from _strangers(folder / "sites", sites)
    keys: dict[str, str] = {}
    for site in sites:
        try:
            keys[site] = public_line(folder / "sites" / f"{site}{_PUBLIC}", site)
        except CertificateError as error:
            yield str(error)
    yield from _twice(folder / "sites", keys, "public key")
    with contextlib.suppress(SigningError, OSError):  # named with the other keys, or as missing
        authority = read_public_key(folder / AUTHORITY_PUBLIC_KEY)
        for site, public in keys.items():
            path = folder / "sites" / f"{site}{_CERTIFICATE}"
            if path.exists():
                yield from certificate_faults(path, site, public, SiteNames(authority, party.key_id))
            elif any((folder / "sites").glob(f"*{_CERTIFICATE}")):  # else it is from before certificates
                yield f"{path} is missing: {approval.APPROVE} makes it, at the authority"
        yield from _statements(folder / "sites", sites, ShareKeyRules(authority, party.key_id, party.federation))


def certificate_faults(path: Path, site: str, public: str, names: SiteNames) -> Iterator[str]:
    """Problems of the certificate of a site's name.

    Args:
        public: the site's key, from `public_line`."""
    try:
        body = names.certified(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        yield f"{path}: {error}: {approval.APPROVE} makes one, at the authority"
        return
    if (body["site"], body["public_key"]) != (site, public):
        said = f"{path} is of {body['site']!r} or for another key than"
        if path.name == p.SITE_CERTIFICATE:
            yield f"{said} {p.SITE_PUBLIC_KEY}"
        else:
            yield f"{said} {site}{_PUBLIC}: copy {p.SITE_PUBLIC_KEY} and {p.SITE_CERTIFICATE} of {site} to them"


def statement_faults(path: Path, site: str, rules: ShareKeyRules) -> Generator[str, None, Statement | None]:
    """Problems of the statement of a site's share key, which is returned if it is one."""
    try:
        found = rules.statement(read_statement(path), time.time())
    except (ValueError, OSError) as error:
        yield f"{path}: {error}; {RENEW_SITES} makes one, at the authority"
        return None
    if found.site != site:
        yield f"{path} is of the site {found.site!r} and not of {site!r}: copy that of {site!r} to it"
    if (days := int((found.not_after - time.time()) // 86400)) < WARN_DAYS:
        yield f"{path} expires in {days} days: {RENEW_SITES}, at the authority"
    return found


def _strangers(folder: Path, sites: list[str]) -> Iterator[str]:
    """Files that belong to no site: one without its public key is not registered, and no script takes such names."""
    for path in sorted(folder.glob("*")):
        if path.suffix in (_CERTIFICATE, p.SHARE_END) and path.stem not in sites:
            yield f"{path.with_suffix(_PUBLIC)} is missing: copy {p.SITE_PUBLIC_KEY} of {path.stem} to it"
        elif path.suffix == _PUBLIC and not NAME.fullmatch(path.stem):
            yield f"{path} is of no site, as none has such a name: delete it"


def _twice(folder: Path, keys: dict[str, str], what: str) -> Iterator[str]:
    owners: dict[str, str] = {}
    for site, key in keys.items():
        if (owner := owners.setdefault(key, site)) != site:
            yield f"{folder / site}{_PUBLIC} holds the {what} of {owner}: copy {p.SITE_PUBLIC_KEY} of {site} to it"


def _statements(folder: Path, sites: list[str], rules: ShareKeyRules) -> Iterator[str]:
    owners: dict[bytes, str] = {}
    for site in sites:
        path = folder / f"{site}{p.SHARE_END}"
        if not path.exists():
            yield f"{path} is missing: {RENEW_SITES} makes it, at the authority"
            continue
        found = yield from statement_faults(path, site, rules)
        if found is not None and (owner := owners.setdefault(found.public, site)) != site:
            yield f"{path} holds the share key of {owner}: remove the site, and add it again"
