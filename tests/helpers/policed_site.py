"""A real node with a policy file, as fixtures."""

from pathlib import Path

import pytest
from party_share_keys import write_share_keys

from app import client_app
from app.client_app import _make_client
from strategies.ciphers import ckks
from strategies.ciphers.kahe import client_half as kahe
from strategies.ciphers.keys import new_key, write_key
from strategies.signing import new_signing_key

TEMPLATE = Path(client_app.__file__).parent / "deployment/templates/policy.toml"
RUN_KEY = "0123456789abcdef"


def filled(template, site="north"):
    """The text of the policy template for a site of `init`."""
    text = template.read_text()
    for old, new in {"@site": site, "@federation": "parks", "@cipher": "kahe", "@key_holder": "client"}.items():
        text = text.replace(old, new)
    return text


@pytest.fixture
def policy_file(tmp_path):
    """Writes the file that `init` makes, with changes: (old, new) of its text each."""

    def write(*changes):
        text = filled(TEMPLATE)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "policy.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def policed_site(tmp_path, pictures_root, policy_file):
    """Makes the client of a real node with a policy, for the overrides of a run."""
    key = new_key({"kahe": kahe.new_secret, "ckks": ckks.new_secret})
    write_key(key, tmp_path / "federation.key")
    share_keys = write_share_keys(tmp_path, "parks", "north", key.key_id, new_signing_key())

    def make(overrides, *changes, **node):
        config = {
            "client": "north",
            "data": "manifest",
            "data-root": str(pictures_root),
            "state-dir": str(tmp_path / "node"),
            "key-file": str(tmp_path / "federation.key"),
            **share_keys,
            "policy": str(policy_file(*changes)),
            **node,
        }
        node = tuple(sorted((name, value) for name, value in config.items() if value is not None))
        _make_client.cache_clear()
        return _make_client(overrides, node, RUN_KEY, 1)

    return make


@pytest.fixture(scope="module")
def policed_run(base_overrides):
    """Overrides that the policy of `init` takes: nothing of the site's own, and encryption."""
    own = ("data=", "data.root=", "data.partition.by=", "privacy=")
    return " ".join(word for word in base_overrides.split() if not word.startswith(own))
