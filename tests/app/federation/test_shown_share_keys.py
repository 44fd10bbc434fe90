"""Share keys in whole federations under `privacy.cipher=kahe`: clients believe the authority's statements alone."""

import json
import time

import numpy as np
import pytest
from federation_checks import kind_of
from kahe_federations import gone

from app import client_app
from app.federation import build
from app.federation.build import key_path
from app.federation.share_key_files import (
    SIMULATION,
    simulated_authority,
    simulated_authority_public,
    simulated_share_keys,
)
from app.settings.checks import SettingsError
from strategies import messages as m
from strategies.ciphers.keys import read_key
from strategies.partial_sync import PartialSync
from strategies.share_keys import VALID_DAYS, new_share_keys
from strategies.signing import SigningError, new_signing_key

pytestmark = pytest.mark.slow

THREE = "privacy.cipher=kahe data.partition.by=identity federation.num_clients=3 federation.quorum=0.6 train.epochs=1"
THREE_NODES = [{"partition-id": i, "num-partitions": 3} for i in range(3)]
NAMES = ["client-0", "client-1", "client-2"]


@pytest.fixture
def three(make_federation):
    """A federation of three with two rounds, of which two are needed to open a sum."""
    return make_federation(changes=f"{THREE} federation.rounds=2", node_configs=THREE_NODES)


def statement_of(federation, site, authority=None, name=SIMULATION, key_id="", days=0, key=None):
    """A statement by the authority of the run, or by another one."""
    folder = federation.folder.path
    return new_share_keys(
        name,
        site,
        key_id or read_key(key_path(folder)).key_id,
        authority or simulated_authority(folder),
        now=time.time() - days * 86400,
        key=key,
    ).text


def lying(change):
    """A server that changes what it shows to clients in the first attempt at round 2."""

    class Lying(PartialSync):
        def configure_train(self, server_round, arrays, config, grid):
            messages = list(super().configure_train(server_round, arrays, config, grid))
            if server_round == 2 and self.report.attempts == 1:
                for message in messages:
                    change(message.content[m.CONFIG])
            return messages

    return Lying


def shown(config, index, text):
    texts = list(config[m.SHARE_KEYS])
    texts[index] = text
    config[m.SHARE_KEYS] = texts


def with_member(config, name, text):
    config[m.COHORT] = [*config[m.COHORT], name]
    config[m.SHARE_KEYS] = [*config[m.SHARE_KEYS], text]


def renamed(text, name):
    return json.dumps({**(whole := json.loads(text)), "body": {**whole["body"], "site": name}}, indent=1) + "\n"


def exchanged(config):
    """Two statements under each other's name."""
    texts = list(config[m.SHARE_KEYS])
    texts[0], texts[1] = renamed(texts[0], NAMES[1]), renamed(texts[1], NAMES[0])
    config[m.SHARE_KEYS] = texts


ATTACKS = {
    "exchanges two": (
        lambda _, config: exchanged(config),
        "the statement of the share key of client-1 is not signed by this federation's authority",
    ),
    "shows one twice": (
        lambda _, config: shown(config, 0, config[m.SHARE_KEYS][1]),
        "two statements of the share key of client-1",
    ),
    "leaves one out": (
        lambda _, config: config.update({m.SHARE_KEYS: list(config[m.SHARE_KEYS])[:2]}),
        "no statement of the authority about the share key of client-2",
    ),
    "invents a member": (
        lambda run, config: with_member(config, "ghost", statement_of(run, "ghost", new_signing_key())),
        "the statement of the share key of ghost is not signed by this federation's authority",
    ),
    "invents a member and signs it as another site": (
        lambda _, config: with_member(config, "ghost", config[m.SHARE_KEYS][1]),
        "two statements of the share key of client-1",
    ),
    "replays another federation": (
        lambda run, config: shown(config, 1, statement_of(run, NAMES[1], name="zoos")),
        "the share key of client-1 is of the federation 'zoos', not 'simulation'",
    ),
    "replays an earlier federation key": (
        lambda run, config: shown(config, 1, statement_of(run, NAMES[1], key_id="f" * 16)),
        "client-1",
    ),
    "replays an expired one": (
        lambda run, config: shown(config, 1, statement_of(run, NAMES[1], days=VALID_DAYS + 1)),
        "the share key of client-1 expired",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_server_that_shows_other_keys_gets_no_update(three, attack):
    """Each client refuses by name, before it trains; the attempt is lost, and nothing else."""
    change, reason = ATTACKS[attack]
    updates = []

    def count(message, reply):
        if kind_of(message) == ("train", 2) and not reply.has_error():
            updates.append(message.content[m.CONFIG][m.ATTEMPT])
        return reply

    three.run(count, strategy=lying(lambda config: change(three, config)))
    line = three.lines()[1]
    assert updates == [2] * 3
    assert line["attempts"] == 2
    refused = {row["client"]: row["reason"] for row in line["left_out"]}
    assert refused.keys() == set(NAMES)
    assert all("ShareKeyError" in text and reason in text for text in refused.values()), refused


def test_the_order_of_the_statements_does_not_matter(three):
    three.run(strategy=lying(lambda config: config.update({m.SHARE_KEYS: list(config[m.SHARE_KEYS])[::-1]})))
    assert [line["attempts"] for line in three.lines()[:2]] == [1, 1]
    assert [line["left_out"] for line in three.lines()[:2]] == [[], []]


def test_clients_that_were_shown_other_valid_keys_open_no_share(three):
    """Client-2 shows a statement of a newer key, as after a renewal, and the server shows the earlier one to client-0:
    their payloads are bound to different keys."""
    old = []

    def change(config):
        old.append(config[m.SHARE_KEYS][2])
        if len(old) == 1:
            shown(config, 2, statement_of(three, NAMES[2]))

    three.run(strategy=lying(change))
    line = three.lines()[1]
    reasons = {row["client"]: row["reason"] for row in line["left_out"]}
    assert len(line["clients"]) == 2
    assert reasons.keys() == {"client-0"}
    assert reasons["client-0"].startswith("members of the payload is ")


BAD = {
    "none": (lambda _: "", "it shows no statement of its share key"),
    "of another authority": (lambda run: statement_of(run, NAMES[2], new_signing_key()), "is not signed by"),
    "of another site": (lambda run: statement_of(run, NAMES[1]), "it shows the share key of 'client-1'"),
    "expired": (lambda run: statement_of(run, NAMES[2], days=VALID_DAYS + 1), "the share key of client-2 expired"),
    "with the key of another": (
        lambda run: statement_of(run, NAMES[2], key=simulated_share_keys(run.folder.path, NAMES[0], "f" * 16).key),
        "it has the share key of 'client-0'",
    ),
    "too long": (lambda _: "x" * 10_000, "no text of at most 4096 characters"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_node_without_a_valid_statement_is_left_out_and_the_round_goes_on(three, bad):
    text, reason = BAD[bad]

    def tamper(_, reply):
        if not reply.has_error() and reply.content.config_records.get(m.INFO, {}).get(m.CLIENT) == NAMES[2]:
            reply.content[m.INFO][m.SHARE_KEY] = text(three)
        return reply

    three.run(tamper)
    for line in three.lines()[:2]:
        assert line["attempts"] == 1
        assert sorted(line["clients"]) == NAMES[:2]
        assert any("client-2" in row["client"] and reason in row["reason"] for row in line["left_out"]), line
    first, second = (arrays["vector"] for name, arrays in three.held("global").items() if name != NAMES[2])
    np.testing.assert_array_equal(first, second)


def test_a_client_that_restarts_before_the_question_answers_it(three):
    """Each client in a new process for each message."""

    def restart(_, reply):
        client_app._make_client.cache_clear()
        return reply

    three.run(restart)
    assert [line["attempts"] for line in three.lines()[:2]] == [1, 1]
    assert [line["left_out"] for line in three.lines()[:2]] == [[], []]


def test_shares_are_not_dealt_by_what_a_node_kept_of_other_clients(three):
    """Nothing is pinned: the statements decide each time."""
    three.run()
    files = {path.name for path in (three.folder.path / "nodes" / NAMES[0]).glob("share*")}
    assert files == {"share_attempts.json", "share_open.json"}
    sent = [message for message in three.grid.sent if message.metadata.message_type == "train"]
    assert all(m.SHARE_KEYS in message.content[m.CONFIG] for message in sent)


def test_the_server_reads_the_public_half_once_at_the_first_answer(three_kahe, monkeypatch):
    """A node that describes itself again is checked with the same key, whatever became of the file."""
    federation, read, failed = three_kahe(rounds=1), [], []

    def counted(folder):
        read.append(folder)
        return simulated_authority_public(folder)

    def lost(message, reply):
        if kind_of(message) == ("train", 1) and not failed:
            (federation.folder.path / "keys/authority.pub").unlink()
            failed.append(message)
            return gone(message)
        return reply

    monkeypatch.setattr(build, "simulated_authority_public", counted)
    federation.run(lost)
    assert read == [federation.folder.path]
    assert len(federation.lines()[0]["left_out"]) == 1
    assert federation.lines()[1]["left_out"] == []


def test_a_run_without_the_public_half_names_it_and_can_be_resumed(three_kahe):
    federation = three_kahe(rounds=1)

    def lost(_, reply):
        (federation.folder.path / "keys/authority.pub").unlink(missing_ok=True)
        return reply

    with pytest.raises(SigningError, match=r"authority\.pub: No such file .*: resume the run"):
        federation.run(lost)
    assert "resume the run" in federation.folder.read_progress()["failed"]
    federation.resume()
    assert len(federation.lines()[0]["clients"]) == 3


def test_a_real_run_that_names_no_authority_ends_before_any_message(three):
    """Nor does the server make an authority of its own."""
    three.simulated = False
    with pytest.raises(SettingsError, match=r"privacy\.cipher=kahe needs federation\.authority"):
        three.run()
    assert three.grid.sent == []
    assert not (three.folder.path / "keys").exists()
