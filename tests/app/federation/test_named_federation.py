"""A federation whose sites have certificates: what the server takes, and whom it refuses by name."""

import json
from dataclasses import replace

import pytest
from conftest import LocalFederation
from flwr.app import ConfigRecord
from in_process_grid import InProcessGrid

from app import client_app
from app.deployment.setup import make_federation
from app.deployment.site_names import authority_text
from app.federation.build import make_rules
from app.federation.layout import shared_part
from app.server_app import _names
from strategies import messages as m
from strategies.ciphers.kahe.client_half import new_secret
from strategies.ciphers.keys import new_key
from strategies.directory import NodeDirectory
from strategies.proofs import reply_statement
from strategies.rounds import RoundReport
from strategies.signing import new_signing_key, signed_text

pytestmark = pytest.mark.slow

SITES = ("north", "south", "west")


@pytest.fixture(scope="module")
def parks(tmp_path_factory, plan):
    """The folders of three sites, with a key that encrypts."""
    root = tmp_path_factory.mktemp("named") / "parks"
    make_federation(plan(sites=list(SITES)), root, new_key({"kahe": new_secret}))
    return root


@pytest.fixture
def make(parks, tmp_path, base_overrides, pictures_root):
    """Makes a federation of real nodes as `start.sh` and `run.sh` do; `changes` are further overrides."""

    def make(sites=SITES, changes=""):
        own = ("data=", "data.root=", "data.partition.by=", "privacy=")
        words = [word for word in base_overrides.split() if not word.startswith(own)]
        authority = client_app._identity_of(_node(parks, "north", tmp_path, pictures_root)).names
        words += ["federation.num_clients=3", f"privacy.key_id='\"{authority.key_id}\"'"]
        words += [f"federation.authority='\"{authority_text(authority.authority)}\"'", changes]
        nodes = [dict(_node(parks, site, tmp_path / str(n), pictures_root)) for n, site in enumerate(sites)]
        # The server has no images and needs the settings of their set all the same.
        return LocalFederation(tmp_path / "run", f"{' '.join(words)} data=manifest data.root=none", nodes)

    return make


def _node(root, site, state, pictures):
    folder = root / "sites" / site
    files = {"key-file": "federation.key", "policy": "policy.toml", "site-key": "site.key", "site-cert": "site.cert"}
    files |= {"share-key": "share.key", "share-cert": "share.cert", "authority": "authority.pub"}
    config = {name: str(folder / file) for name, file in files.items()}
    config |= {"client": site, "data": "manifest", "data-root": str(pictures), "state-dir": str(state / site)}
    return tuple(sorted(config.items()))


def test_certified_sites_train_together_and_an_altered_reply_is_left_out(make):
    """West's update, and then a measure of it, is altered on its way: encrypted envelopes have a checksum that
    whoever alters them can compute anew, a signature not."""
    federation = make(changes="federation.rounds=2")

    def tamper(message, reply):
        if message.metadata.message_type == "train" and "west" in str(reply.content[m.INFO][m.CLIENT]):
            if message.content[m.CONFIG][m.SERVER_ROUND] == 1:
                reply.content[m.UPDATE] = m.bytes_record(m.UPDATE, b"forged")
            else:
                reply.content[m.MEASURES]["loss_total"] = 0.0
        return reply

    federation.run(tamper)
    lines = federation.folder.read_metrics()
    assert [sorted(line["clients"]) for line in lines] == [["north", "south"], ["north", "south"], list(SITES)]
    assert [line["left_out"] for line in lines] == [
        [{"client": "west", "reason": "refused: its reply is not signed by the key of 'west'"}]
    ] * 2 + [[]]


def gathered(federation, tamper=lambda _, reply: reply):
    """The nodes that the server takes, by name, and the reasons for the others."""
    settings = federation.settings
    client_app._make_client.cache_clear()
    grid = InProcessGrid(client_app.app, federation.overrides, federation.node_configs, tamper)
    rules = make_rules(settings, task=settings.task, layout=shared_part(settings)[0].digest, run_key="ab" * 8)
    report = RoundReport(1)
    rules = replace(rules, num_clients=2, quorum=0.1, start_timeout=0.0)
    found = NodeDirectory(rules, _names(settings)).gather(grid, report)
    return [node.client for node in found], [row["reason"] for row in report.left_out]


def renamed(reply, _):
    reply.content[m.INFO][m.CLIENT] = "east"


def renamed_and_signed(reply, proof):
    reply.content[m.INFO][m.CLIENT] = "east"
    reply.content[m.PROOF] = ConfigRecord(proof())


def without_proof(reply, _):
    del reply.content.config_records[m.PROOF]


def proof_of_other_types(reply, _):
    reply.content[m.PROOF] = ConfigRecord({m.CERTIFICATE: b"x", m.SIGNATURE: "x"})


def certified_by_another(reply, proof):
    body = json.loads(proof()[m.CERTIFICATE])["body"]
    certificate = signed_text({**body, "site": "east"}, "site-name/1", new_signing_key())
    reply.content[m.PROOF] = ConfigRecord({**proof(), m.CERTIFICATE: certificate})


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (renamed, "its reply is not signed by the key of 'west'"),
        (renamed_and_signed, "calls itself 'east', and its certificate is of 'west'"),
        (without_proof, "its reply proves no name"),
        (proof_of_other_types, "its reply proves no name"),
        (certified_by_another, "is not signed by this federation's authority"),
    ],
)
def test_a_node_under_a_name_that_is_not_its_own_is_refused(make, attack, reason):
    federation = make()
    west = client_app._identity_of(tuple(sorted(federation.node_configs[2].items())))

    def tamper(message, reply):
        if message.metadata.dst_node_id == 3:
            asked = message.content[m.CONFIG]
            attack(reply, lambda: west.proof(reply_statement(3, "query", asked, reply.content)))
        return reply

    names, reasons = gathered(federation, tamper)
    assert names == ["north", "south"]
    [found] = reasons
    assert found.startswith("refused: ")
    assert reason in found


def test_an_answer_of_another_node_or_of_another_time_cannot_be_sent_again(make):
    federation, kept = make(), []

    def replay(message, reply):
        """West sends north's answer of this time, word for word."""
        kept.append(reply.content)
        if message.metadata.dst_node_id == 3:
            reply.content.update(kept[0])
        return reply

    names, reasons = gathered(federation, replay)
    assert (names, reasons) == (["north", "south"], ["refused: its reply is not signed by the key of 'north'"])
    before = {1: kept[0]}

    def again(message, reply):
        """North's own answer, to the challenge of another time."""
        reply.content.update(before.get(message.metadata.dst_node_id, {}))
        return reply

    names, reasons = gathered(federation, again)
    assert (names, reasons) == (["south", "west"], ["refused: its reply is not signed by the key of 'north'"])


def test_one_site_is_one_node(make):
    names, reasons = gathered(make(("north", "south", "south")))
    assert (names, reasons) == (["north", "south"], ["refused: another node already calls itself 'south'"])


def test_a_run_of_another_authority_or_of_none_is_refused_by_the_sites(make):
    other = authority_text(new_signing_key().public_key())
    for words, reason in (
        (f"federation.authority='\"{other}\"'", "another authority"),
        ("federation.authority=", "no"),
    ):
        federation = make(changes=words)
        with pytest.raises(Exception, match=rf"north: federation\.authority: the run has {reason}"):
            gathered(federation)


def test_a_simulation_needs_no_names(make_federation):
    """The other tests of federations have none either."""
    federation = make_federation(changes="federation.rounds=1").run()
    assert m.PROOF not in federation.grid.received[0].content
