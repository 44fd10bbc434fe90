"""Faults of share keys in the folders of a federation: `verify` names each with its remedy."""

import shutil
import time
from dataclasses import asdict

import pytest
from party_share_keys import public

from app.deployment.parties import read_party
from app.deployment.verify import problems
from strategies.share_keys import new_statement
from strategies.signing import new_signing_key, public_pem, read_signing_key, signed_text


def signed(root, folder="sites/north", site="north", **changes):
    authority = read_signing_key(root / "authority/signing.key")
    made = new_statement("parks", site, public(root, "north"), read_party(root / folder).key_id, time.time())
    return signed_text({**asdict(made), **changes}, "share-key/1", authority)


def write(name, text):
    def change(root):
        (root / name).write_text(text(root) if callable(text) else text)

    return change


def copy(source, place):
    return lambda root: shutil.copy(root / source, root / place)


def lost(name):
    return lambda root: (root / name).unlink()


@pytest.mark.parametrize(
    ("party", "change", "reasons"),
    [
        ("sites/north", lambda root: (root / "sites/north/share.key").chmod(0o640), ["secret and can be", "chmod 600"]),
        ("sites/north", lost("sites/north/share.key"), ["share.key is missing: python -m"]),
        ("sites/north", lost("sites/north/share.cert"), ["share.cert is missing: python -m"]),
        ("sites/north", write("sites/north/share.key", "x"), ["share.key is damaged: take it from a backup"]),
        (
            "sites/north",
            copy("authority/signing.key", "sites/north/share.key"),
            ["share.key is of another kind than X25519"],
        ),
        (
            "sites/north",
            copy("sites/south/share.key", "sites/north/share.key"),
            ["share.key is not the key of share.cert: take both from one"],
        ),
        (
            "sites/north",
            lambda root: [
                shutil.copy(root / f"sites/south/share.{end}", root / f"sites/north/share.{end}")
                for end in ("key", "cert")
            ],
            ["share.cert is of the site 'south' and not of 'north': copy that of 'north'"],
        ),
        ("sites/north", write("sites/north/share.cert", "x"), ["no signed document", "renew FOLDER --sites makes one"]),
        (
            "sites/north",
            write("sites/north/share.cert", lambda root: signed(root, key_id="0" * 16)),
            ["north is for the federation key 0000000000000000", "renew FOLDER --sites makes one"],
        ),
        (
            "sites/north",
            write("sites/north/share.cert", lambda root: signed(root, federation="other")),
            ["of the federation 'other', not 'parks'"],
        ),
        (
            "operator",
            write("operator/sites/south.share", lambda root: signed(root, site="south")),
            ["south.share holds the share key of north: remove the site"],
        ),
        (
            "operator",
            lost("operator/sites/south.share"),
            ["south.share is missing: python -m"],
        ),
        ("operator", write("operator/sites/south.share", signed), ["south.share is of the site 'north'"]),
        (
            "server",
            copy("sites/north/share.key", "server/x"),
            ["x is a secret that the server must not have"],
        ),
        (
            "authority",
            copy("sites/north/share.key", "authority/share.key"),
            ["share.key is a secret that the authority must not have"],
        ),
        (
            "sites/south",
            lambda root: (root / "sites/south/authority.pub").write_bytes(public_pem(new_signing_key())),
            ["allowed-apps is not signed", "share.cert: the statement of the share key of south is not signed"],
        ),
    ],
)
def test_verify_names_every_fault_with_its_remedy(root, party, change, reasons):
    change(root)
    told = "\n".join(problems(root / party))
    assert told
    for reason in reasons:
        assert reason in told
