"""Remedies for those who used `packed_bfv` or pairwise masks, where they meet them."""

import json
import shutil
from pathlib import Path

import pytest

from app.core.run_folder import RunFolder
from app.deployment.verify import problems
from app.federation.policy import Policy, PolicyFileError, read_policy
from app.federation.recipe import Recipe
from app.settings.checks import SettingsError
from app.settings.load import load_settings, settings_from
from app.settings.upgrades import RUN
from app.training.checkpoint import Checkpoint
from strategies.ciphers.keys import new_key, read_key, write_key

FROZEN = Path(__file__).parents[2] / "frozen" / "settings-0-register-1"


CIPHER = r"privacy\.cipher=packed_bfv is retired: leave it out for the default, privacy=kahe, .* goes on with"
MASKING = r"privacy\.masking is retired: leave it out; the default, privacy=kahe, does what pairwise masks did"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("privacy=packed_bfv", CIPHER),
        ("privacy.cipher=packed_bfv", CIPHER),
        ("++privacy.cipher=packed_bfv", CIPHER),
        ("privacy={cipher:packed_bfv}", CIPHER),
        ("privacy.masking=pairwise", MASKING),
        ("privacy.masking=none", MASKING),
        ("++privacy.masking=pairwise", MASKING),
    ],
)
def test_a_run_that_asks_for_them_gets_one_line_with_the_remedy(override, line):
    with pytest.raises(SettingsError, match=rf"^{line}[^\n]*$"):
        load_settings(override)


@pytest.mark.slow
@pytest.mark.parametrize("resumed", ["", "federation.rounds=3"])
def test_a_run_that_began_with_it_is_not_resumed(make_federation, resumed):
    federation = make_federation(changes="federation.rounds=2 privacy=kahe").run()
    path = federation.folder.path / "settings.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    del kept["settings_version"]
    kept["privacy"] |= {"cipher": "packed_bfv", "masking": "none"}
    path.write_text(json.dumps(kept), encoding="utf-8")
    before = federation.folder.read_metrics()
    with pytest.raises(ValueError, match=r"begun with privacy\.cipher=packed_bfv, .* goes on with the version of the"):
        federation.run(more=f"federation.resume=true {resumed}".strip())
    assert federation.folder.read_metrics() == before
    assert federation.folder.load_arrays("server")[1]["run_key"]


def test_a_run_whose_settings_are_damaged_is_not_resumed_and_the_file_is_named(make_federation):
    federation = make_federation(changes="federation.rounds=1").run()
    (federation.folder.path / "settings.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"settings\.json"):
        federation.resume()


def test_a_federation_key_of_before_is_named_by_verify(root):
    """Its id is another one than the folder's, too, unless the whole folder is of that version."""
    folder = root / "sites" / "north"
    old = new_key({"packed_bfv": lambda: b"secret", "ckks": lambda: b"another"})
    (folder / "federation.key").unlink()
    write_key(old, folder / "federation.key")
    party = json.loads((folder / "party.json").read_text(encoding="utf-8"))
    (folder / "party.json").write_text(json.dumps({**party, "key_id": old.key_id}), encoding="utf-8")
    named = [sentence for sentence in problems(folder) if "federation.key" in sentence]
    assert named == [
        f"{folder / 'federation.key'} is of an earlier version, without a secret for kahe: "
        "python -m scripts.federation rotate FOLDER, at the authority"
    ]
    assert read_key(folder / "federation.key").key_id == old.key_id


OLD = ('ciphers = ["kahe"]\n', 'ciphers = ["packed_bfv"]\nmasking = "none"\n')


@pytest.mark.parametrize(
    ("privacy", "ciphers", "line"),
    [
        (OLD[1], ["kahe"], '"packed_bfv" in ciphers is taken as "kahe", masking = "none" is ignored'),
        ('ciphers = ["packed_bfv", "ckks"]\n', ["kahe", "ckks"], '"packed_bfv" in ciphers is taken as "kahe"'),
        ('masking = "none"\n', ["kahe"], 'masking = "none" is ignored'),
        ('masking = "pairwise"\n', ["kahe"], 'masking = "pairwise" allows "kahe" alone'),
        ('ciphers = ["ckks", "packed_bfv", "plain"]\nmasking = "pairwise"\n', ["kahe"], 'allows "kahe" alone'),
    ],
)
def test_a_sites_policy_of_before_protects_as_much_and_says_so_in_one_line(policy_file, caplog, privacy, ciphers, line):
    path = policy_file((OLD[0], privacy))
    with caplog.at_level("WARNING", logger="flwr"):
        found = read_policy(path)
    assert found.privacy.ciphers == ciphers
    assert found == Policy(format=1, privacy={"ciphers": ciphers})
    [said] = [record.getMessage() for record in caplog.records if record.name == "flwr"]
    assert said.startswith(f"policy file {path}, section privacy, is of an earlier version: ")
    assert line in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "privacy", ['ciphers = ["ckks"]\nmasking = "pairwise"\n', 'masking = "rot13"\n', "masking = 1\n"]
)
def test_a_policy_that_nothing_can_fulfil_is_refused(policy_file, privacy):
    with pytest.raises(PolicyFileError, match=r'privacy\.masking is retired: remove it, with ciphers = \["kahe"\]'):
        read_policy(policy_file((OLD[0], privacy)))


def test_a_policy_of_before_admits_a_run_and_refuses_a_weaker_one(policed_site, policed_run):
    masked = (OLD[0], 'ciphers = ["packed_bfv", "ckks"]\nmasking = "pairwise"\n')
    assert policed_site(policed_run, OLD).cipher.parameters.fields()["scheme"] == "kahe"
    assert policed_site(policed_run, masked).cipher.key_id
    with pytest.raises(SettingsError, match=r"\(privacy\.ciphers\)"):
        policed_site(f"{policed_run} privacy=ckks", masked)


def test_files_of_masks_in_a_nodes_folder_are_left_alone(make_federation):
    federation = make_federation(changes="federation.rounds=1 privacy=kahe")
    node = federation.folder.path / "nodes" / "client-0"
    node.mkdir(parents=True)
    names = ("mask.key", "mask_peers.json", "mask_used.json", "mask_open.json", "mask_disclosed.json")
    for name in names:
        (node / name).write_bytes(b"{ of before")
    federation.resume()
    assert federation.folder.read_summary()["left_out"] == []
    assert all((node / name).read_bytes() == b"{ of before" for name in names)


def test_stored_settings_of_before_are_those_of_the_default(tmp_path):
    """Of files that an earlier version wrote: checkpoints of its default, and a recipe of a run in the clear."""
    frozen = Path(shutil.copytree(FROZEN, tmp_path / "frozen"))
    folder = RunFolder(frozen / "checkpoints")
    stored = folder.read_stored_settings()["privacy"]
    assert (stored["cipher"], stored["masking"]) == ("packed_bfv", "none")
    [node] = (frozen / "node").iterdir()
    read = (folder.read_settings(), Checkpoint.read(folder.path, "dual").settings, Recipe.read(node).settings)
    assert [kept["privacy"]["cipher"] for kept in read] == ["kahe", "kahe", "plain"]
    for kept in read:
        assert "masking" not in kept["privacy"]
        assert settings_from(kept).privacy.bits == 12


@pytest.mark.parametrize(("cipher", "after"), [("packed_bfv", "kahe"), ("kahe", "kahe"), ("ckks", "ckks"), (3, 3)])
def test_the_step_changes_cipher_and_masking_alone(cipher, after):
    raw = {"privacy": {"cipher": cipher, "masking": "pairwise", "bits": 12}, "train": {"lr": 1.0}}
    assert RUN.upgraded("file", None, raw) == {"privacy": {"bits": 12, "cipher": after}, "train": {"lr": 1.0}}
    assert RUN.upgraded("file", None, {"privacy": None}) == {"privacy": None}
