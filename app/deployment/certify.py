"""Certificates of the sites' names in the folders of a federation."""

from pathlib import Path

from app.deployment import parties as p
from app.deployment.signing import SIGNING_KEY, read_signing_key
from app.deployment.site_names import site_certificate


def write_certificates(root: Path, key_id: str) -> list[Path]:
    """Certify each site's name for this federation key: beside its public key at the operator's, and in its own folder
    if that is still here. Returns the files; none in a federation that is older than its authority's signing key."""
    operator, signing = root / "operator", root / "authority" / SIGNING_KEY
    if not signing.exists():
        return []
    known = {path.stem: path for path in sorted((operator / "sites").glob("*.pub"))}
    known |= {path.parent.name: path for path in sorted((root / "sites").glob(f"*/{p.SITE_PUBLIC_KEY}"))}
    key, federation = read_signing_key(signing), p.read_party(root / "authority").federation
    written = []
    for site, public in known.items():
        text = site_certificate(federation, site, public.read_bytes(), key_id, key)
        for path in (operator / "sites" / f"{site}.cert", root / "sites" / site / p.SITE_CERTIFICATE):
            if path.parent.is_dir():
                p.write_file(path, text.encode(), p.PUBLIC)
                written.append(path)
    return written
