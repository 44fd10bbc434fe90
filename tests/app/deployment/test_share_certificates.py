"""Share keys in the folders of a federation: who gets what from each command, and attacks."""

import json
import shutil
import stat
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from party_folders import run
from party_share_keys import keys_of, node, public, statement

from app.deployment import site_files
from app.deployment.parties import DeploymentError, parties_of, read_party
from app.deployment.renewal import renew_share_keys, rotate_key
from app.deployment.setup import add_site, make_federation, remove_site
from app.deployment.verify import problems
from app.federation.share_key_files import read_share_key, read_statement, share_key_pem
from scripts import federation
from strategies.ciphers.keys import FederationKey
from strategies.share_keys import VALID_DAYS, ShareKeyError, new_statement, signed_statement
from strategies.signing import new_signing_key, read_signing_key, signed_text, write_signing_key

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")
DAY = 86400


def from_before(root):
    """Folders as the version before wrote them."""
    for path in [*root.rglob("share.*"), *root.rglob("*.share")]:
        path.unlink()


def test_init_gives_each_site_a_key_of_its_own_that_no_other_party_has(made):
    found = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    for site in ("north", "south"):
        path = made / f"sites/{site}/share.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert {other for other, data in found.items() if found[path] in data} == {path, made / f"first/{site}.tar"}
        assert (made / f"operator/sites/{site}.share").read_bytes() == (made / f"sites/{site}/share.cert").read_bytes()
        body = json.loads(statement(made, site))["body"]
        assert body["share_key"] == public(made, site).hex()
        assert (body["federation"], body["key_id"]) == ("parks", read_party(made / "server").key_id)
    cohort = ["north", "south"]
    texts = [statement(made, site) for site in cohort]
    north, south = (keys_of(made, site) for site in cohort)
    assert north.members(cohort, texts) == south.members(cohort, texts)
    assert north.exchange(public(made, "south")) == south.exchange(public(made, "north"))


def test_a_further_site_gets_a_key_and_changes_no_other(root):
    before = {site: statement(root, site) for site in ("north", "south")}
    add_site(root, "east")
    assert {site: statement(root, site) for site in before} == before
    cohort = ["north", "east", "south"]
    texts = [statement(root, site) for site in cohort]
    assert list(keys_of(root, "north").members(cohort, texts).keys) == cohort
    assert list(keys_of(root, "east").members(cohort, texts).keys) == cohort


def test_rotate_makes_new_keys_and_ends_the_old_statements(root):
    old = {site: statement(root, site) for site in ("north", "south")}
    rotate_key(root, SECOND)
    cohort = ["north", "south"]
    assert keys_of(root, "north").members(cohort, [statement(root, site) for site in cohort])
    for shown in ([old["north"], old["south"]], [statement(root, "north"), old["south"]]):
        with pytest.raises(ShareKeyError, match=f"for the federation key .* and not {SECOND.key_id}"):
            keys_of(root, "north").members(cohort, shown)
    assert all(json.loads(old[site])["body"]["share_key"] != public(root, site).hex() for site in cohort)


@pytest.mark.slow
def test_a_removed_sites_statement_ends_with_the_rotation_that_its_leaving_asks_for(root):
    add_site(root, "east")
    left = statement(root, "east")
    remove_site(root, "east")
    rotate_key(root, SECOND)
    shown = [statement(root, "north"), statement(root, "south"), left]
    with pytest.raises(ShareKeyError, match="share key of east is for the federation key"):
        keys_of(root, "north").members(["north", "south", "east"], shown)


def test_another_federations_statement_is_of_no_use(root, plan, first_key, tmp_path):
    """Even of one with the same name, sites and federation key; and even under the same authority."""
    other = tmp_path / "other"
    make_federation(plan(), other, first_key)
    shown = [statement(root, "north"), statement(other, "south")]
    with pytest.raises(ShareKeyError, match="south is not signed by this federation's authority"):
        keys_of(root, "north").members(["north", "south"], shown)
    authority = read_signing_key(root / "authority/signing.key")
    twin = new_statement("parks-2", "south", public(other, "south"), first_key.key_id, time.time())
    with pytest.raises(ShareKeyError, match="south is of the federation 'parks-2', not 'parks'"):
        keys_of(root, "north").members(["north", "south"], [shown[0], signed_statement(twin, authority)])


def test_a_server_invents_no_site_and_exchanges_no_keys(root):
    """With all that server and operator have: every public file, and the server's own keys."""
    add_site(root, "east")
    victim, cohort = keys_of(root, "north"), ["north", "south", "east"]
    texts = {site: read_statement(root / f"operator/sites/{site}.share") for site in cohort}
    own = X25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    forgeries = [
        texts["south"].replace(public(root, "south").hex(), own),
        texts["south"].replace(public(root, "south").hex(), public(root, "east").hex()),
        texts["east"].replace('"east"', '"south"'),
        signed_text(json.loads(texts["south"])["body"] | {"share_key": own}, "share-key/1", new_signing_key()),
        (root / "operator/sites/south.cert").read_text(),
        (root / "operator/allowed-apps").read_text(),
    ]
    for forged in forgeries:
        with pytest.raises(ShareKeyError, match=r"is not signed by|was signed as"):
            victim.members(cohort, [texts["north"], forged, texts["east"]])
    with pytest.raises(ShareKeyError, match="no statement of the authority about the share key of ghost"):
        victim.members(["north", "south", "ghost"], [texts["north"], texts["south"]])
    with pytest.raises(ShareKeyError, match="east, which is not in the cohort"):
        victim.members(["north", "south", "ghost"], list(texts.values()))


@pytest.mark.slow
def test_renew_prolongs_and_keeps_the_keys(root, capsys):
    keys = {site: public(root, site) for site in ("north", "south")}
    renew_share_keys(root, time.time() - (VALID_DAYS - 10) * DAY)
    told = [sentence for folder in parties_of(root) for sentence in problems(folder)]
    assert [sentence.split(" expires")[0] for sentence in told] == [
        str(root / name)
        for name in ("operator/sites/north.share", "operator/sites/south.share", "sites/north/share.cert")
    ] + [str(root / "sites/south/share.cert")]
    assert all(
        sentence.endswith("in 9 days: python -m scripts.federation renew FOLDER --sites, at the authority")
        for sentence in told
    )
    server = (root / "server/server.crt").read_bytes()
    lines, printed = run(capsys, "renew", root, "--sites")
    assert printed["share_keys"] == [
        str(root / name) for site in keys for name in (f"operator/sites/{site}.share", f"sites/{site}/share.cert")
    ]
    for site in keys:  # a statement is no secret
        way = "over any channel; there: python -m scripts.federation apply FILE"
        assert f"{root}/updates/{site}.tar: to {site}, {way}" in lines
    assert {site: public(root, site) for site in keys} == keys
    assert [sentence for folder in parties_of(root) for sentence in problems(folder)] == []
    assert (root / "server/server.crt").read_bytes() == server
    assert list(run(capsys, "renew", root, "--server")[1]) == ["certificate", "archives"]
    assert list(run(capsys, "renew", root)[1]) == ["certificate", "share_keys", "archives"]
    with pytest.raises(DeploymentError, match="exclude each other"):
        federation.main(["renew", str(root), "--server", "--sites"])


def test_an_expired_statement_is_named_at_the_site_and_refused_by_the_others(root):
    south = statement(root, "south")
    renew_share_keys(root, time.time() - (VALID_DAYS + 1) * DAY)
    (told,) = problems(root / "sites/south")
    assert "the share key of south expired on" in told
    assert "renew FOLDER --sites" in told
    expired = statement(root, "south")
    renew_share_keys(root)
    with pytest.raises(ShareKeyError, match=r"share key of south expired on .* the authority renews it"):
        keys_of(root, "north").members(["north", "south"], [statement(root, "north"), expired])
    assert keys_of(root, "north").members(["north", "south"], [statement(root, "north"), south])  # the same key


def test_folders_from_before_get_keys_by_the_command_that_verify_names(root, capsys):
    """One site's folder is here, the other was handed over; each gets a private key that nobody else has."""
    from_before(root)
    handed_over = root.parent / "north"
    shutil.move(root / "sites/north", handed_over)
    told = problems(handed_over)
    assert told == [
        f"{handed_over}/{name} is missing: python -m scripts.federation renew FOLDER --sites makes it, at the authority"
        for name in ("share.key", "share.cert")
    ]
    assert [line.partition(":")[0] for line in problems(root / "operator")] == [
        f"{root}/operator/sites/{site}.share is missing" for site in ("north", "south")
    ]
    lines, printed = run(capsys, "renew", root, "--sites")
    for site in ("north", "south"):
        assert any(line.startswith(f"{root}/updates/{site}.tar: to {site}, over a safe channel") for line in lines)
    secret = X25519PrivateKey.from_private_bytes(read_share_key(root / "sites/north/share.key").private_bytes_raw())
    assert share_key_pem(secret).decode() not in json.dumps([lines, printed])
    assert sorted(path.name for path in (root / "sites/north").iterdir()) == ["share.cert", "share.key"]
    federation.main(["apply", str(root / "updates/north.tar"), "--folder", str(handed_over)])
    shutil.rmtree(root / "sites/north")
    assert [sentence for folder in (*parties_of(root), handed_over) for sentence in problems(folder)] == []
    run(capsys, "renew", root, "--sites")  # the authority still knows the key by its own signature
    assert not (root / "sites/north").exists()
    federation.main(["apply", str(root / "updates/north.tar"), "--folder", str(handed_over)])
    assert problems(handed_over) == []


def test_rotate_says_which_key_goes_to_which_site(root, capsys):
    shutil.rmtree(root / "sites/north")  # handed over
    lines, printed = run(capsys, "rotate", root)
    for site in ("north", "south"):
        assert any(line.startswith(f"{root}/updates/{site}.tar: to {site}, over a safe channel") for line in lines)
        assert str(root / f"sites/{site}/share.key") in printed["files"]
        assert stat.S_IMODE((root / "sites" / site).stat().st_mode) == 0o700
    assert "PRIVATE" not in "\n".join(lines)


def test_a_federation_older_than_signing_keys_is_told_to_approve_first(root):
    (root / "authority/signing.key").unlink()
    with pytest.raises(DeploymentError, match=r"signing\.key is missing: python -m scripts\.federation approve"):
        renew_share_keys(root)
    assert rotate_key(root, SECOND)


def test_a_key_that_another_authority_signed_is_not_certified_again(root):
    """After a signing key was lost, what lies at the operator's is not believed: a site that is not here gets a new
    key."""
    old, kept = statement(root, "north"), public(root, "south")
    shutil.rmtree(root / "sites/north")
    key = root / "authority/signing.key"
    key.unlink()
    write_signing_key(new_signing_key(), key)
    renew_share_keys(root)
    assert json.loads(statement(root, "north"))["body"]["share_key"] != json.loads(old)["body"]["share_key"]
    assert public(root, "south") == kept  # its private key is here: the authority knows its own
    assert json.loads(statement(root, "south"))["body"]["share_key"] == kept.hex()


def test_a_site_does_not_start_with_a_kind_of_data_that_there_is_not(made, tmp_path, capsys):
    folder = tmp_path / "north"
    shutil.copytree(made / "sites/north", folder)
    assert site_files.main(str(folder), "north", "manifset", "/srv/x") == 2
    said = capsys.readouterr().err
    assert f"DATA=manifset in {folder}/site.env: there is no data=manifset; known: ccpd, manifest" in said
    assert not (folder / "state/node.toml").exists()
    assert site_files.data_fault("examples.reader:Reader", "/srv/x") == ""


def test_a_node_finds_its_share_key_in_its_config(made, tmp_path):
    """As `site_files` writes the config at the start of a site."""
    folder = tmp_path / "north"
    shutil.copytree(made / "sites/north", folder)
    assert site_files.main(str(folder), "north", "synthetic", "/srv/x") == 0
    text = (folder / "state/node.toml").read_text()
    for key, path in node(folder).items():
        assert f'{key} = "{path}"' in text
