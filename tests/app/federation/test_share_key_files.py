"""Share keys of clients in files: of a real node, and of a simulation's run folder."""

import multiprocessing
import shutil
import stat

import pytest

from app.deployment.parties import read_party
from app.federation.outgoing_errors import LISTED, outgoing
from app.federation.refusals import IdentityError
from app.federation.share_key_files import (
    read_share_key,
    read_share_keys,
    simulated_authority,
    simulated_authority_public,
    simulated_share_keys,
)
from app.settings.checks import SettingsError
from strategies.ciphers.keys import KeyFileError
from strategies.share_keys import ShareKeyError
from strategies.signing import SigningError, new_signing_key, public_pem

KEY_ID, OTHER_ID = "0123456789abcdef", "fedcba9876543210"
NAMES = [f"client-{number}" for number in range(4)]


def config(folder):
    names = {"share-key": "share.key", "share-cert": "share.cert", "authority": "authority.pub"}
    return {key: str(folder / name) for key, name in names.items()}


def opened(run_folder, name, barrier, found):
    barrier.wait()
    found.put((name, simulated_share_keys(run_folder, name, KEY_ID).text))


def test_clients_that_start_at_once_have_one_authority_and_a_key_each(tmp_path):
    """In processes of their own, each client twice, as Flower's actors open them."""
    fork = multiprocessing.get_context("fork")
    barrier, found = fork.Barrier(2 * len(NAMES)), fork.Queue()
    jobs = [fork.Process(target=opened, args=(tmp_path, name, barrier, found)) for name in 2 * NAMES]
    for job in jobs:
        job.start()
    texts = [found.get(timeout=60) for _ in jobs]
    for job in jobs:
        job.join()
    own = {name: simulated_share_keys(tmp_path, name, KEY_ID) for name in NAMES}
    members = own[NAMES[0]].members(NAMES, list(dict(texts).values()))
    assert len(set(members.keys.values())) == len(NAMES)
    for name, text in texts:
        assert own[name].rules.signed(text).public == members.keys[name]
    files = sorted((tmp_path / "keys").iterdir())
    assert [path.name for path in files] == ["authority.key", "authority.pub", *(f"share-{name}.key" for name in NAMES)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files if path.suffix == ".key"} == {0o600}


def test_a_resumed_run_reads_its_keys_again_and_another_run_has_others(tmp_path, capfd):
    first = [simulated_share_keys(tmp_path / "run", name, KEY_ID) for name in NAMES]
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.key")}
    again = [simulated_share_keys(tmp_path / "run", name, KEY_ID) for name in NAMES]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.key")} == kept
    texts = [one.text for one in first]
    assert first[0].members(NAMES, texts) == again[1].members(NAMES, [one.text for one in again])
    other = simulated_share_keys(tmp_path / "other", NAMES[1], KEY_ID)
    with pytest.raises(ShareKeyError, match="client-1 is not signed by this federation's authority"):
        first[0].members(NAMES[:2], [first[0].text, other.text])
    assert capfd.readouterr() == ("", "")


def test_a_simulation_with_another_federation_key_has_other_statements(tmp_path):
    one, other = (simulated_share_keys(tmp_path, NAMES[0], key_id) for key_id in (KEY_ID, OTHER_ID))
    assert one.exchange(one.key.public_key().public_bytes_raw()) == other.exchange(
        one.key.public_key().public_bytes_raw()
    )
    with pytest.raises(ShareKeyError, match="client-0 is for the federation key"):
        other.rules.statement(one.text, 2e9)


def test_damaged_keys_of_a_run_folder_are_named(tmp_path):
    simulated_share_keys(tmp_path, NAMES[0], KEY_ID)
    path = tmp_path / "keys/share-client-0.key"
    path.write_bytes(b"")
    with pytest.raises(KeyFileError, match=r"share-client-0\.key is damaged"):
        simulated_share_keys(tmp_path, NAMES[0], KEY_ID)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="can be read by others: chmod 600"):
        read_share_key(path)
    path.unlink()
    with pytest.raises(KeyFileError, match=r"cannot read share key .*No such file"):
        read_share_key(path)


@pytest.mark.parametrize("content", [b"", b"x", public_pem(new_signing_key()), None])
def test_a_public_half_that_is_not_the_authoritys_is_replaced_by_the_next_client(tmp_path, content):
    """As after a restored copy, or a key that was deleted alone."""
    authority, public = simulated_authority(tmp_path), tmp_path / "keys/authority.pub"
    public.unlink() if content is None else public.write_bytes(content)
    simulated_share_keys(tmp_path, NAMES[0], KEY_ID)
    assert public.read_bytes() == public_pem(authority)
    assert simulated_authority_public(tmp_path) == authority.public_key()


@pytest.mark.parametrize(("content", "fault"), [(None, "cannot read .*No such file"), (b"x", "is damaged")])
def test_a_server_without_the_authoritys_public_half_names_the_file_and_the_remedy(tmp_path, content, fault):
    if content is not None:
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys/authority.pub").write_bytes(content)
    with pytest.raises(SigningError, match=r"keys/authority\.pub") as raised:
        simulated_authority_public(tmp_path)
    assert raised.match(fault)
    assert raised.match(r"resume the run \(federation\.resume=true\)")


def test_a_real_nodes_keys_know_its_federation(made):
    folder = made / "sites/north"
    own = read_share_keys("north", config(folder), read_party(folder).key_id)
    assert (own.site, own.rules.federation) == ("north", "parks")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "share.key").unlink(), "cannot read share key"),
        (lambda folder: (folder / "share.key").chmod(0o644), "chmod 600"),
        (lambda folder: (folder / "share.cert").unlink(), "No such file"),
        (lambda folder: (folder / "share.cert").write_bytes(b"\xff"), "decode"),
        (lambda folder: (folder / "share.cert").write_bytes(b"x" * 5000), "at most 4096 characters"),
        (lambda folder: (folder / "authority.pub").unlink(), "authority's public key"),
        (lambda folder: shutil.copy(folder.parent / "south/share.key", folder / "share.key"), "for another key"),
        (lambda folder: shutil.copy(folder.parent / "south/share.cert", folder / "share.cert"), "is of south"),
    ],
)
def test_a_real_node_without_usable_keys_says_why_in_its_own_log(root, caplog, change, reason):
    folder = root / "sites/north"
    key_id = read_party(folder).key_id
    change(folder)
    with pytest.raises(IdentityError) as raised:
        read_share_keys("north", config(folder), key_id)
    assert str(raised.value) == "north: it cannot use its share key; the site's own log says why"
    assert reason in caplog.text
    assert "renew FOLDER --sites" in caplog.text


def test_a_statement_for_another_federation_key_is_not_used(made, caplog):
    with pytest.raises(IdentityError):
        read_share_keys("north", config(made / "sites/north"), OTHER_ID)
    assert f"and not {OTHER_ID}" in caplog.text


def test_a_node_config_without_share_keys_is_named():
    words = {"share-cert": "x"}
    with pytest.raises(SettingsError, match="north: shares for other sites need the node config share-key, authority"):
        read_share_keys("north", words, KEY_ID)


def test_the_server_reads_which_members_key_was_refused():
    assert ShareKeyError in LISTED
    error = ShareKeyError("the share key of south expired on 2027-01-15")
    assert outgoing(error, {"client": "north"}) == "north: the share key of south expired on 2027-01-15"
