"""Checks of a party's folder: missing files, old files, modes that are too wide, and misplaced secrets."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from app.deployment import approval, certificates
from app.deployment import parties as p
from app.deployment.certificates import CertificateError
from app.deployment.env_file import read_env
from app.deployment.parties import Kind, Party
from app.deployment.site_names import SiteNames, authority_text
from app.deployment.verify_sites import (
    RENEW_SITES,
    WARN_DAYS,
    certificate_faults,
    sites_at_operator,
    statement_faults,
)
from app.federation.policy import PolicyFileError, read_policy
from app.federation.share_key_files import read_share_key
from strategies.ciphers.keys import KEY_FORMAT, KeyFileError, read_key
from strategies.share_keys import ShareKeyRules, Statement
from strategies.signing import (
    AUTHORITY_PUBLIC_KEY,
    SIGNING_KEY,
    SigningError,
    public_pem,
    read_public_key,
    read_signing_key,
)

_PRIVATE = re.compile(rb'-----BEGIN [A-Z ]*PRIVATE KEY-----|"format": *"' + re.escape(KEY_FORMAT.encode()))
_BY_APPROVAL = (AUTHORITY_PUBLIC_KEY, SIGNING_KEY, p.ALLOWED_APPS, p.SITE_CERTIFICATE)
_ACCESS = "python -m scripts.federation operator-access FOLDER"
_HINTS = {
    **dict.fromkeys(_BY_APPROVAL, f": {approval.APPROVE} makes it, at the authority"),
    **dict.fromkeys((p.SHARE_KEY, p.SHARE_CERTIFICATE), f": {RENEW_SITES} makes it, at the authority"),
    **dict.fromkeys(
        (p.OPERATOR_CERTIFICATE, p.OPERATOR_KEY, p.CONTROL),
        f": {_ACCESS} makes it, at the authority",
    ),
    p.FLWR: ": python -m scripts.federation refresh FOLDER makes it",
    p.POLICY: ": python -m scripts.federation refresh FOLDER makes the strict one",
}
_LARGEST_SECRET = 64 * 2**20  # of files to search; a CKKS key has megabytes


def problems(folder: Path) -> list[str]:
    """One sentence, naming the file, for each problem of a party's folder.

    Raises DeploymentError if it is no party's folder at all."""
    return [*problems_of_files(folder), *bind_problems(folder)]


def problems_of_files(folder: Path) -> list[str]:
    """Those that no change of the machine's own settings mends."""
    party = p.read_party(folder)
    checks = (_files, _secrets, _certificates, _keys, _signing, _name, _share_keys, sites_at_operator, _policy)
    return [sentence for check in checks for sentence in check(party, folder)]


def bind_problems(folder: Path) -> list[str]:
    """The one of a server whose certificate lacks the address in its settings at which it listens."""
    party, path = p.read_party(folder), folder / p.SERVER_CERTIFICATE
    if party.kind is Kind.server:
        with contextlib.suppress(CertificateError):  # named with the other certificates
            bind = read_env(folder / "server.env").get("BIND", "0.0.0.0")
            if certificates.is_for(certificates.read_certificate(path), party.host):
                return list(filter(None, [certificates.bind_fault(path, bind)]))
    return []


def _files(party: Party, folder: Path) -> Iterator[str]:
    if folder.stat().st_mode & 0o077:
        yield f"{folder} can be read by others: chmod 700 it"
    for name, mode in party.files().items():
        path = folder / name
        if not path.exists():
            if name not in (p.IGNORE, p.PORTS, p.UPDATES):  # older folders have none, and a copy of "*" omits the first
                yield f"{path} is missing{_HINTS.get(name, '')}"
        elif mode == p.SECRET and path.stat().st_mode & 0o077:
            yield f"{path} is secret and can be read by others: chmod 600 it"
        elif mode == p.PROGRAM and not path.stat().st_mode & 0o100:
            yield f"{path} cannot be executed: chmod 755 it"
    yield from _old_start(party, folder / p.START)


_STARTS = {
    Kind.site: ("app.deployment.site_files", "checks no app bundle"),
    Kind.server: ("app.deployment.superlink", "lets whoever has ca.crt and reaches its port start runs"),
}
"""Program that a start.sh of this version has, and what one without it does, by party."""


def _old_start(party: Party, start: Path) -> Iterator[str]:
    if party.kind in _STARTS and start.exists():
        program, fault = _STARTS[party.kind]
        if program not in start.read_text(errors="replace"):
            yield f"{start} is of an older version and {fault}: {p.REFRESH}"


def _secrets(party: Party, folder: Path) -> Iterator[str]:
    """Secrets of another party, under any file name. Files written by the running party are its own."""
    secret = [name for name, mode in party.files().items() if mode == p.SECRET]
    allowed = {place / name for name in secret for place in (folder, folder / p.REPLACED)}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if not path.is_file() or path in allowed or (inside[0] == p.STATE and party.kind is not Kind.server):
            continue
        if party.kind is Kind.authority and path.match("federation-*.key"):
            continue  # put aside by a rotation
        with contextlib.suppress(FileNotFoundError):  # a running server's files come and go
            if path.stat().st_size <= _LARGEST_SECRET and _PRIVATE.search(path.read_bytes()):
                yield f"{path} is a secret that the {party.kind} must not have"


def _certificates(party: Party, folder: Path) -> Iterator[str]:
    try:
        authority = certificates.read_certificate(folder / p.AUTHORITY_CERTIFICATE)
        yield from _age(folder / p.AUTHORITY_CERTIFICATE, certificates.days_left(authority))
        if p.OPERATOR_CERTIFICATE in party.files():
            yield from _operator_certificate(folder, authority)
        if party.kind is not Kind.server:
            return
        server = certificates.read_certificate(folder / p.SERVER_CERTIFICATE)
        yield from _age(folder / p.SERVER_CERTIFICATE, certificates.days_left(server))
        if not certificates.is_signed_by(server, authority):
            yield f"{folder / p.SERVER_CERTIFICATE} is not signed by {p.AUTHORITY_CERTIFICATE}"
        if not certificates.is_for(server, party.host):
            yield f"{folder / p.SERVER_CERTIFICATE} is not for {party.host}"
        if not certificates.fits(server, folder / p.SERVER_KEY):
            yield f"{folder / p.SERVER_KEY} is not the key of {p.SERVER_CERTIFICATE}"
    except CertificateError as error:
        yield str(error)


def _operator_certificate(folder: Path, authority: x509.Certificate) -> Iterator[str]:
    path, key = folder / p.OPERATOR_CERTIFICATE, folder / p.OPERATOR_KEY
    if not (path.exists() and key.exists()):
        return  # named as missing
    operator = certificates.read_certificate(path)
    yield from _age(path, certificates.days_left(operator), f": {_ACCESS}, at the authority")
    if not certificates.is_signed_by(operator, authority):
        yield f"{path} is not signed by {p.AUTHORITY_CERTIFICATE}"
    if not certificates.fits(operator, key):
        yield f"{key} is not the key of {p.OPERATOR_CERTIFICATE}"


def _age(path: Path, days: int, remedy: str = "") -> Iterator[str]:
    if days < 0:
        yield f"{path} has expired{remedy}"
    elif days < WARN_DAYS:
        yield f"{path} expires in {days} days{remedy}"


def _keys(party: Party, folder: Path) -> Iterator[str]:
    if party.kind is Kind.site and (folder / p.SITE_KEY).exists():
        try:
            public = certificates.public_half(folder / p.SITE_KEY)
            if not (folder / p.SITE_PUBLIC_KEY).read_bytes().startswith(public):
                yield f"{folder / p.SITE_PUBLIC_KEY} is not the public half of {p.SITE_KEY}"
        except CertificateError as error:
            yield str(error)
        except OSError:
            pass  # named as missing
    if p.FEDERATION_KEY in party.files() and (folder / p.FEDERATION_KEY).exists():
        try:
            held = read_key(folder / p.FEDERATION_KEY)
            if held.key_id != party.key_id:
                yield f"{folder / p.FEDERATION_KEY} has id {held.key_id} instead of {party.key_id}"
            if "packed_bfv" in held.secrets and "kahe" not in held.secrets:
                remedy = "python -m scripts.federation rotate FOLDER, at the authority"
                yield f"{folder / p.FEDERATION_KEY} is of an earlier version, without a secret for kahe: {remedy}"
        except KeyFileError as error:
            yield str(error)


def _name(party: Party, folder: Path) -> Iterator[str]:
    if party.kind is Kind.operator:
        yield from _authority_of_runs(folder)
    if party.kind is not Kind.site or not (folder / p.SITE_CERTIFICATE).exists():
        return  # named as missing
    with contextlib.suppress(SigningError, CertificateError, OSError):  # named with the other keys
        names = SiteNames(read_public_key(folder / AUTHORITY_PUBLIC_KEY), party.key_id)
        public = certificates.public_line(folder / p.SITE_PUBLIC_KEY, party.name)
        yield from certificate_faults(folder / p.SITE_CERTIFICATE, party.name, public, names)


def _share_keys(party: Party, folder: Path) -> Iterator[str]:
    """A site's own share key."""
    with contextlib.suppress(SigningError, OSError):  # named with the other keys, or as missing
        rules = ShareKeyRules(read_public_key(folder / AUTHORITY_PUBLIC_KEY), party.key_id, party.federation)
        if party.kind is Kind.site and (folder / p.SHARE_CERTIFICATE).exists():
            found = yield from statement_faults(folder / p.SHARE_CERTIFICATE, party.name, rules)
            yield from _private_share_key(folder, found)


def _private_share_key(folder: Path, found: Statement | None) -> Iterator[str]:
    if not (folder / p.SHARE_KEY).exists():
        return  # named as missing
    try:
        public = read_share_key(folder / p.SHARE_KEY).public_key().public_bytes_raw()
    except KeyFileError as error:
        yield f"{error}: take it from a backup, or a new one from the authority: python -m scripts.federation rotate"
        return
    if found is not None and found.public != public:
        yield f"{folder / p.SHARE_KEY} is not the key of {p.SHARE_CERTIFICATE}: take both from one `rotate` or `renew`"


def _authority_of_runs(folder: Path) -> Iterator[str]:
    """Sites that hold this public key refuse a run of another authority, and one that names none."""
    with contextlib.suppress(SigningError, OSError):  # named with the other keys, or as missing
        key = authority_text(read_public_key(folder / AUTHORITY_PUBLIC_KEY))
        if f'federation.authority="{key}"' not in (folder / p.RUN).read_text(encoding="utf-8"):
            remedy = f"python -m scripts.federation refresh {folder}"
            yield f"{folder / p.RUN} is not of the authority of {AUTHORITY_PUBLIC_KEY}: {remedy}"


def _policy(party: Party, folder: Path) -> Iterator[str]:
    if party.kind is Kind.site and (folder / p.POLICY).exists():
        try:
            read_policy(folder / p.POLICY)
        except PolicyFileError as error:
            yield str(error)


def _signing(party: Party, folder: Path) -> Iterator[str]:
    if not (folder / AUTHORITY_PUBLIC_KEY).exists():
        return  # named as missing
    try:
        public = read_public_key(folder / AUTHORITY_PUBLIC_KEY)
        own = folder / SIGNING_KEY
        if party.kind is Kind.authority and own.exists() and public_pem(read_signing_key(own)) != public_pem(public):
            yield f"{folder / AUTHORITY_PUBLIC_KEY} is not the public half of {SIGNING_KEY}"
        elif p.ALLOWED_APPS in party.files() and (folder / p.ALLOWED_APPS).exists():
            allowed = approval.read_allowed(folder)
            if party.kind is Kind.site:
                approval.check_newest(allowed, folder)
    except SigningError as error:
        yield str(error)
