"""Share keys in the folders of a federation's sites."""

from app.deployment.parties import read_party
from app.federation.share_key_files import read_share_key, read_share_keys, read_statement


def node(folder):
    return {
        "share-key": folder / "share.key",
        "share-cert": folder / "share.cert",
        "authority": folder / "authority.pub",
    }


def keys_of(root, site):
    folder = root / "sites" / site
    config = {key: str(path) for key, path in node(folder).items()}
    return read_share_keys(site, config, read_party(folder).key_id)


def statement(root, site):
    return read_statement(root / "sites" / site / "share.cert")


def public(root, site):
    return read_share_key(root / "sites" / site / "share.key").public_key().public_bytes_raw()
