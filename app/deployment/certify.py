"""Certificates of the sites' names in the folders of a federation."""

from pathlib import Path

from app.deployment import parties as p
from app.deployment.certificates import public_line
from app.deployment.site_names import SiteNames, site_certificate
from strategies.signing import SIGNING_KEY, read_signing_key


def write_certificates(root: Path, key_id: str) -> list[Path]:
    """Certify each site's name for this federation key: beside its public key at the operator's, and in its own folder
    if present. Returns the files; none in a federation older than signing keys.

    Raises CertificateError for a damaged public key."""
    signing = root / "authority" / SIGNING_KEY
    if not signing.exists():
        return []
    key, federation = read_signing_key(signing), p.read_party(root / "authority").federation
    written = []
    for site, public in _public_keys(root).items():
        text = site_certificate(federation, site, public_line(public, site), key_id, key)
        for path in _places(root, site):
            p.write_file(path, text.encode(), p.PUBLIC)
            written.append(path)
    return written


def all_certified(root: Path, key_id: str) -> bool:
    """Whether each site's certificates are present, and by the authority's present signing key. They are not after a
    lost signing key, nor in a federation older than certificates."""
    names = SiteNames(read_signing_key(root / "authority" / SIGNING_KEY).public_key(), key_id)
    try:
        for path in (path for site in _public_keys(root) for path in _places(root, site)):
            names.certified(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _public_keys(root: Path) -> dict[str, Path]:
    known = {path.stem: path for path in sorted((root / "operator" / "sites").glob("*.pub"))}
    return known | {path.parent.name: path for path in sorted((root / "sites").glob(f"*/{p.SITE_PUBLIC_KEY}"))}


def _places(root: Path, site: str) -> list[Path]:
    """Paths of a site's certificate in the folders present here."""
    places = (root / "operator" / "sites" / f"{site}.cert", root / "sites" / site / p.SITE_CERTIFICATE)
    return [path for path in places if path.parent.is_dir()]
