"""Share keys in the folders of a federation's sites."""

import time

from app.deployment.parties import read_party
from app.federation.share_key_files import read_share_key, read_share_keys, read_statement, share_key_pem
from strategies.share_keys import new_share_keys
from strategies.signing import public_pem, write_new_secret


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


def write_share_keys(folder, federation, site, key_id, authority):
    """A share key with its statement in a folder; the part of a node config that names the files."""
    own = new_share_keys(federation, site, key_id, authority, now=time.time())
    write_new_secret(share_key_pem(own.key), folder / "share.key")
    (folder / "share.cert").write_text(own.text, encoding="utf-8")
    (folder / "authority.pub").write_bytes(public_pem(authority.public_key()))
    return {name: str(path) for name, path in node(folder).items()}
