"""The federation key: its file, its id, and what is sealed under it."""

import base64
import json
import multiprocessing
import os
import stat

import pytest
from encrypted_payloads import flipped
from hypothesis import given
from hypothesis import strategies as st

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.keys import FederationKey, KeyFileError, new_key, read_key, shared_key, write_key

MAKERS = {"kahe": lambda: b"first secret", "ckks": lambda: b"second secret"}


@pytest.fixture
def key():
    return new_key(MAKERS)


@pytest.fixture
def path(tmp_path, key):
    path = tmp_path / "federation.key"
    write_key(key, path)
    return path


def rewrite(path, **changes):
    """The file with other values in it, still private."""
    body = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**body, **changes}), encoding="utf-8")


def test_a_key_comes_back_from_its_file(path, key):
    found = read_key(path)
    assert found == key
    assert found.key_id == key.key_id
    assert found.secret("kahe") == b"first secret"
    assert len(found.secret("seal")) == 32


def test_the_file_is_its_owners_alone_and_nothing_else_is_left(tmp_path, key):
    before = os.umask(0)
    try:
        path = tmp_path / "keys" / "federation.key"
        write_key(key, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["federation.key"]


def test_a_key_is_never_overwritten(path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_key(new_key(MAKERS), path)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1, "no half-written file is left behind"


def test_a_crash_while_writing_leaves_no_key(tmp_path, key, monkeypatch):
    def crash(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        write_key(key, tmp_path / "federation.key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_can_read_is_refused(path, mode):
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=r"federation\.key can be read by others: chmod 600 it"):
        read_key(path)
    path.chmod(0o400)
    read_key(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff\xfe" + data,
        lambda _: b"[1, 2]",
        lambda _: b'"text"',
        lambda _: b"{}",
        lambda data: data.replace(b'"created"', b'"creator"'),
        lambda data: data.replace(b'"secrets"', b'"secret"'),
    ],
)
def test_a_damaged_file_is_refused_by_name(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(KeyFileError, match=r"federation\.key is damaged"):
        read_key(path)


@pytest.mark.parametrize("secrets", [None, 3, "text", ["seal"], {"seal": 3}, {"seal": "no base64!"}, {}])
def test_secrets_of_another_form_or_number_are_refused(path, secrets):
    rewrite(path, secrets=secrets)
    with pytest.raises(KeyFileError, match=r"federation\.key is damaged"):
        read_key(path)


def test_an_altered_secret_or_id_is_noticed(path, key):
    secrets = {name: base64.b64encode(secret).decode() for name, secret in key.secrets.items()}
    rewrite(path, secrets={**secrets, "ckks": base64.b64encode(b"second secreT").decode()})
    with pytest.raises(KeyFileError, match=f"its id is not '{key.key_id}'"):
        read_key(path)
    rewrite(path, secrets=secrets, key_id="0" * 16)
    with pytest.raises(KeyFileError, match="its id is not '0000000000000000'"):
        read_key(path)
    rewrite(path, key_id=key.key_id)
    assert read_key(path) == key


def test_a_missing_file_and_another_format_are_refused_by_name(path):
    with pytest.raises(KeyFileError, match=r"cannot read key file .*other\.key: No such file"):
        read_key(path.with_name("other.key"))
    rewrite(path, format="fed-vehicle-reid federation key 9")
    with pytest.raises(KeyFileError, match="another format: 'fed-vehicle-reid federation key 9'"):
        read_key(path)


@given(st.dictionaries(st.text(max_size=6), st.binary(max_size=40), max_size=4), st.randoms(use_true_random=False))
def test_the_id_is_stable_and_independent_of_the_order_and_the_date(secrets, random):
    names = list(secrets)
    random.shuffle(names)
    first = FederationKey(secrets, "2026-01-01")
    assert first.key_id == FederationKey({name: secrets[name] for name in names}, "2027-01-01").key_id
    assert len(first.key_id) == 16
    int(first.key_id, 16)
    more = {**secrets, "another": b""}
    assert ("another" in secrets) or FederationKey(more, "").key_id != first.key_id


def test_names_and_secrets_do_not_run_into_each_other():
    keys = [{"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""}, {"a": b"", "b": b"c"}, {"a": b"c", "b": b""}]
    assert len({FederationKey(secrets, "").key_id for secrets in keys}) == len(keys)


def test_neither_the_id_nor_what_is_printed_tells_a_secret(key):
    """Nor in any encoding that a log might use."""
    shown = [key.key_id, repr(key), str(key), f"{key}", f"{[key]}", repr({"key": key})]
    for secret in key.secrets.values():
        for text in shown:
            for hidden in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]):
                assert hidden not in text
    assert repr(key) == f"FederationKey({key.key_id})"


def test_a_scheme_without_a_secret_is_named(key):
    with pytest.raises(CipherError, match=f"federation key {key.key_id} has no secret for 'other'"):
        key.secret("other")


@given(st.binary(max_size=200))
def test_unsealing_inverts_sealing(data):
    key = FederationKey({"seal": bytes(32)}, "")
    sealed = key.seal(data)
    assert key.open(sealed) == data
    assert len(sealed) == len(data) + 32
    assert key.seal(data) != sealed, "a nonce is used once"


def test_every_altered_bit_and_every_other_length_of_a_seal_is_noticed(key):
    sealed = key.seal(b"model")
    for place in range(len(sealed)):
        with pytest.raises(CipherError, match=r"altered|not a sealed model"):
            key.open(flipped(sealed, place, place % 8))
        with pytest.raises(CipherError, match=r"altered|not a sealed model"):
            key.open(sealed[:place])
    with pytest.raises(CipherError, match="altered"):
        key.open(sealed + b"\0")
    with pytest.raises(CipherError, match="sealed under another key"):
        new_key(MAKERS).open(sealed)


def random_secret():
    """A maker whose results tell two makings apart; a function of the module, as processes are handed its name."""
    return os.urandom(32)


def take_shared_key(path, barrier, results):
    """What a client of a simulation does at its start."""
    barrier.wait(timeout=60)
    results.put(shared_key(path, {"kahe": random_secret}).key_id)


@pytest.mark.slow
def test_processes_that_start_at_once_get_the_same_key(tmp_path):
    context = multiprocessing.get_context("spawn")
    path, barrier, results = tmp_path / "federation.key", context.Barrier(2), context.Queue()
    processes = [context.Process(target=take_shared_key, args=(path, barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    ids = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert ids == {read_key(path).key_id}
    assert [entry.name for entry in tmp_path.iterdir()] == ["federation.key"]


def test_a_shared_key_that_another_process_created_meanwhile_is_used(tmp_path, monkeypatch):
    """The race without a race: the file appears between the look for it and the writing."""
    path, first = tmp_path / "federation.key", new_key(MAKERS)
    looked = []

    def made_meanwhile():
        write_key(first, path)
        looked.append(True)
        return b"too late"

    assert shared_key(path, {"kahe": made_meanwhile}) == first
    assert looked
    monkeypatch.setattr("strategies.ciphers.keys.new_key", None)  # not called when the file is there
    assert shared_key(path, MAKERS) == first


def test_a_shared_key_that_is_damaged_is_not_replaced(path):
    path.write_bytes(b"{")
    with pytest.raises(KeyFileError, match="is damaged"):
        shared_key(path, MAKERS)
    assert path.read_bytes() == b"{"


def test_a_file_cut_anywhere_is_refused_by_name(path):
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(KeyFileError, match=r"key file .*federation\.key is damaged"):
            read_key(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\x00\xff\xfe binary", "from a backup"),
        (b"[" * 100_000, "is damaged"),
        (b"[]", "is damaged"),
        (b"null", "is damaged"),
        (
            b'{"format": "fed-vehicle-reid federation key 1", "created": "", "secrets": {"\\ud800": "AA=="}}',
            "is damaged",
        ),
        ("{}".encode("utf-16"), "is damaged"),
    ],
)
def test_whatever_else_a_file_holds_is_refused_by_name(path, content, words):
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"federation\.key is damaged") as caught:
        read_key(path)
    assert words in str(caught.value)


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path):
    folder, pipe = tmp_path / "folder.key", tmp_path / "pipe.key"
    folder.mkdir(mode=0o700)
    os.mkfifo(pipe, 0o600)
    for path in (folder, pipe):
        with pytest.raises(KeyFileError, match=rf"key file .*{path.name} is not a file"):
            read_key(path)
    with pytest.raises(KeyFileError, match=r"cannot read key file .*key/x\.key: No such|Not a directory"):
        read_key(folder / "x.key")
