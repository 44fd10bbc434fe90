"""A federation whose server decrypts the sums (`init --cipher ckks --key-holder cloud`): who holds which half."""

import shutil
import stat
import subprocess

import numpy as np
import pytest
import tenseal as ts
from party_folders import run

from app.deployment.parties import parties_of, read_party
from app.deployment.verify import problems
from app.federation.policy import read_policy
from app.settings.load import load_settings
from scripts import federation
from strategies.ciphers.keys import KeyFileError, read_key

WORDS = ("--name", "parks", "--host", "fed.example.org", "--sites", "north,south", "--install", "/opt/x")
CLOUD = ("--cipher", "ckks", "--key-holder", "cloud")


def opened(secret):
    return ts.context_from(secret)


def is_pair(root):
    """Whether the server's half decrypts what the sites' half encrypts, by TenSEAL itself."""
    sites = opened(read_key(root / "sites/north/federation.key").secrets["ckks"])
    server = opened(read_key(root / "server/cloud.key").secrets["ckks"])
    assert sites.has_public_key()
    assert not sites.is_private()
    assert server.is_private()
    said = ts.ckks_vector(sites, [0.25, -0.5], scale=2.0**30).serialize()
    return np.allclose(ts.ckks_vector_from(server, said).decrypt(), [0.25, -0.5], atol=1e-3)


def words_of_a_run(root):
    """Overrides that `run.sh` puts before those of a person, as a shell reads them."""
    lines = (root / "operator/run.sh").read_text().splitlines()
    (line,) = [line for line in lines if "federation.num_clients=" in line]
    shown = line.replace('"$@"', "").partition(">")[0].rstrip("\\ ")
    done = subprocess.run(["/bin/sh", "-c", f"printf '%s\\n' {shown}"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    root = tmp_path_factory.mktemp("cloud") / "parks"
    federation.main(["init", *WORDS, *CLOUD, "--out", str(root)])
    return root


def test_the_server_alone_can_decrypt_and_everything_is_in_place(cloud):
    assert [told for folder in parties_of(cloud) for told in problems(folder)] == []
    assert is_pair(cloud)
    private = [path for path in cloud.rglob("*.key") if b"ckks" in path.read_bytes()]
    holds = {path.parent.name: opened(read_key(path).secrets["ckks"]).is_private() for path in private}
    assert holds == {"authority": False, "server": True, "north": False, "south": False}
    assert stat.S_IMODE((cloud / "server/cloud.key").stat().st_mode) == 0o600
    seals = {path.parent.name: read_key(path).secrets["seal"] for path in private}
    assert seals["server"] not in {seals[name] for name in ("authority", "north", "south")}
    policy = read_policy(cloud / "sites/north/policy.toml").privacy
    assert (policy.ciphers, policy.key_holders) == (["ckks"], ["cloud"])


def test_a_run_has_the_settings_without_a_word_of_the_operator(cloud):
    settings = load_settings(words_of_a_run(cloud)).privacy
    assert (settings.cipher, settings.key_holder, settings.ckks_preset) == ("ckks", "cloud", "compact")
    assert settings.cloud_key == "/opt/x/parks-server/cloud.key"
    assert settings.key_id == read_key(cloud / "sites/north/federation.key").key_id


def test_further_sites_and_a_rotation_keep_to_it(cloud, tmp_path, capsys):
    root = shutil.copytree(cloud, tmp_path / "parks")
    server = shutil.move(root / "server", tmp_path / "at-server")  # handed over
    first = read_key(server / "cloud.key")
    run(capsys, "add-site", root, "east")
    assert read_policy(root / "sites/east/policy.toml").privacy.key_holders == ["cloud"]
    lines, _ = run(capsys, "rotate", root)
    assert any(line.startswith(f"{root}/updates/server.tar: to server, over a safe channel") for line in lines)
    run(capsys, "apply", root / "updates/server.tar", "--folder", server)
    assert problems(server) == []
    assert read_key(server / "cloud.key") != first
    shutil.rmtree(root / "server")
    shutil.move(server, root / "server")
    assert is_pair(root)
    assert read_party(root / "server").key_id == read_key(root / "sites/south/federation.key").key_id


@pytest.mark.slow
def test_clients_that_hold_the_key_of_ckks_are_possible_and_other_pairs_are_not(tmp_path, capsys):
    root = tmp_path / "parks"
    run(capsys, "init", *WORDS, "--cipher", "ckks", "--preset", "flare", "--out", root)
    settings = load_settings(words_of_a_run(root)).privacy
    assert (settings.cipher, settings.key_holder, settings.ckks_preset) == ("ckks", "client", "flare")
    assert not (root / "server/cloud.key").exists()
    assert opened(read_key(root / "sites/north/federation.key").secrets["ckks"]).is_private()
    with pytest.raises(KeyFileError, match="--key-holder cloud is for --cipher ckks alone"):
        federation.main(["init", *WORDS, "--key-holder", "cloud", "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


def test_a_federation_with_the_default_cipher_is_as_before(root):
    assert all("cipher" not in path.read_text() for path in root.rglob("party.json"))
    assert [word.partition("=")[0] for word in words_of_a_run(root)] == [
        "federation.num_clients",
        "privacy.key_id",
        "federation.authority",
    ]
