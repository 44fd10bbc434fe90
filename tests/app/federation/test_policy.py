"""A site's policy file, and a run that tries to weaken it in every way that a run config offers."""

import dataclasses
import logging
import math
import shlex
import typing
from importlib import import_module
from pathlib import Path

import pytest
from flwr.app import Message
from in_process_grid import InProcessGrid

from app import client_app
from app.client_app import _make_client
from app.federation.policy import Policy, PolicyFileError, read_policy
from app.federation.refusals import PolicyError
from app.federation.run_words import run_words
from app.federation.site_policy import _FILES, SitePolicy
from app.settings import TASKS, Settings, SettingsError
from strategies import messages as m
from strategies.ciphers.keys import new_key, write_key
from strategies.ciphers.packed_bfv import new_secret

TEMPLATE = Path(client_app.__file__).parent / "deployment/templates/policy.toml"
RUN_KEY = "0123456789abcdef"


@pytest.fixture
def policy_file(tmp_path):
    """Writes the file that `init` makes, with changes: (old, new) of its text each."""

    def write(*changes):
        text = TEMPLATE.read_text().replace("@site", "north").replace("@federation", "parks")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "policy.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def site(tmp_path, pictures_root, policy_file):
    """Makes the client of a real node with a policy, for the overrides of a run."""
    key = tmp_path / "federation.key"
    write_key(new_key({"packed_bfv": new_secret}), key)

    def make(overrides, *changes, **node):
        config = {
            "client": "north",
            "data": "manifest",
            "data-root": str(pictures_root),
            "state-dir": str(tmp_path / "node"),
            "key-file": str(key),
            "policy": str(policy_file(*changes)),
            **node,
        }
        node = tuple(sorted((name, value) for name, value in config.items() if value is not None))
        _make_client.cache_clear()
        return _make_client(overrides, node, RUN_KEY, 1)

    return make


@pytest.fixture(scope="module")
def run(base_overrides):
    """Overrides that the policy of `init` takes: nothing of the site's own, and encryption."""
    own = ("data=", "data.root=", "data.partition.by=", "privacy=")
    return " ".join(word for word in base_overrides.split() if not word.startswith(own))


def test_the_policy_that_init_makes_is_the_strict_default(policy_file):
    assert read_policy(policy_file()) == Policy(format=1)
    assert Policy(format=1).privacy.ciphers == ["packed_bfv"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([("least = 2", "least = 1")], "cohort.least: Input should be greater than or equal to 2"),
        ([("least = 2", 'least = "2"')], "cohort.least: Input should be a valid integer"),
        ([("least = 2", "least = 2.0")], "cohort.least: Input should be a valid integer"),
        ([("least = 2", "lest = 2")], "unknown key cohort.lest"),
        ([("[cohort]", "[cohorts]")], "unknown key cohorts"),
        ([("format = 1", "")], "format: Field required"),
        ([("format = 1", "format = 2")], "format: Input should be 1"),
        ([('["packed_bfv"]', "[]")], r"privacy.ciphers: List should have at least 1 item"),
        ([('["packed_bfv"]', '"packed_bfv"')], r"privacy.ciphers: Input should be a valid list"),
        ([('["packed_bfv"]', '["rot13"]')], r"privacy.ciphers.0: Input should be 'packed_bfv'"),
        ([("tasks = []", 'tasks = ["reid"]')], "tasks: 'reid' is none of dual_reid"),
        ([("weights = []", 'weights = ["weights"]')], "files.weights: 'weights' is no absolute path"),
        ([("largest_share = 0.9", "largest_share = nan")], "cohort.largest_share: Input should be"),
        ([("fetch_weights = true", "fetch_weights = 1")], "files.fetch_weights: Input should be a valid boolean"),
        ([("[cohort]", "[cohort")], "is not TOML"),
        ([("[cohort]", "[privacy.dp]\nclip = 0\nnoise_multiplier = 1\n[cohort]")], "privacy.dp.clip: Input should be"),
        ([("[cohort]", "[privacy.dp]\nclip = 1\n[cohort]")], "privacy.dp.noise_multiplier: Field required"),
    ],
)
def test_a_file_that_is_wrong_names_file_and_key(policy_file, changes, reason):
    path = policy_file(*changes)
    with pytest.raises(PolicyFileError, match=reason) as error:
        read_policy(path)
    assert str(path) in str(error.value)


def test_a_site_without_the_file_that_its_node_config_names_takes_no_part(site, run, tmp_path, caplog):
    with pytest.raises(PolicyError) as error:
        site(run, policy=str(tmp_path / "gone.toml"))
    assert str(error.value) == "north: its policy file cannot be used; the site's own log says why"
    assert "gone.toml cannot be read: No such file" in caplog.text
    with pytest.raises(PolicyError, match="its policy file cannot be used"):
        site(run, ("least = 2", "least = 0"))


def test_a_run_within_the_policy_trains_and_gets_no_more_of_the_machine(site, run):
    words = "data.workers=64 data.cache_mb=1000000 data.cache_dir_mb=1000 train.threads=1"
    client = site(f"{run} {words}", ("workers = 8", "workers = 2"), ("threads = 0", "threads = 4"))
    data = client.settings.data
    assert (data.workers, data.cache_mb, data.cache_dir_mb, client.settings.train.threads) == (2, 4096, 1000, 1)
    assert client.cipher.key_id


CROSS_MODAL = "task=cross_modal_reid model=two_stream_small loss=cross_modal"
WEAKER = {
    "privacy=plain": "privacy.ciphers",
    "++privacy.cipher=plain": "privacy.ciphers",
    "privacy.cipher='plain'": "privacy.ciphers",
    "privacy={cipher:plain}": "privacy.ciphers",
    "++privacy={cipher:plain}": "privacy.ciphers",
    "privacy=packed_bfv privacy.cipher=plain": "privacy.ciphers",
    "privacy=ckks": "privacy.ciphers",
    "privacy=ckks privacy.key_holder=cloud": "privacy.ciphers",
    "data.reader=vric": None,
    "++data={reader:vric,root:/etc}": None,
    "data.root=/etc ++data.root=/etc": None,
    "data.cache_dir=/etc data.equalise.folder=/etc": None,
    "data={root:/etc}": None,
    "data.partition.by=identity": None,
    "model.vehicle.pretrained=/etc/passwd": "files.weights",
    "++model.vehicle.pretrained=passwd": "files.weights",
    "model.vehicle.pretrained=../../secret.pt": "files.weights",
    "model.vehicle={backbone:test_efficientnet,image_size:32,pretrained:/etc/passwd}": "files.weights",
    "model.vehicle.options={checkpoint_path:/etc/passwd}": "files.weights",
    "model.vehicle.options={pretrained_cfg:{custom_load:true}}": "files.weights",
    "model.vehicle.options.pretrained_cfg_overlay.url='http:%2f%2fexample.org'": "files.weights",
    "model.vehicle.options={cache_dir:here}": "files.weights",
    "model.vehicle.backbone=hf-hub:timm/resnet50": "files.weights",
    "model.vehicle.backbone=local-dir:here": "files.weights",
    "data.equalise.model=/etc/passwd": "files.weights",
    "data.equalise.model=GLOBAL": "files.weights",
    "data.val_split=../../etc/passwd": "files.weights",
    "data.val_split=/etc/passwd": "files.weights",
    "device=/dev/null": "files.weights",
    "federation.private=['*classifier*',/etc/*]": "files.weights",
    f"{CROSS_MODAL} loss.perceptual_weights=/etc/shadow": "files.weights",
    f"{CROSS_MODAL} loss.perceptual_weights=Imagenet": "files.weights",
    "task=plate_text model=plate_reader loss=text model.start=/etc/passwd": "files.weights",
}


@pytest.mark.parametrize(("words", "key"), WEAKER.items())
def test_a_run_cannot_weaken_the_policy_of_init(site, run, pictures_root, tmp_path, caplog, words, key):
    """None: the run is taken, and what the words name stays the site's own."""
    if words.startswith("task="):
        run = ""
    if key is None:
        data = site(f"{run} {words}").settings.data
        assert (data.reader, data.root, data.partition.by) == ("manifest", str(pictures_root), "none")
        assert (data.cache_dir, data.equalise.folder) == (
            str(tmp_path / "node/pictures"),
            str(tmp_path / "node/equalised"),
        )
        return
    with caplog.at_level(logging.ERROR), pytest.raises(PolicyError) as error:
        site(f"{run} {words}")
    # The server learns site and key, and no value, path or file name.
    assert str(error.value) == f"north: refused by the site's policy ({key}); the site's own log says why"
    assert str(tmp_path / "policy.toml") in caplog.text


@pytest.mark.parametrize(
    "word",
    [
        "seed=${oc.env:SECRET}",
        "++seed=${oc.env:SECRET}",
        "'seed=$\\{oc.env:SECRET\\}'",
        "name='${oc.env:SECRET}'",
        "'data.synthetic={sites: ${oc.env:SECRET}}'",
        "data=${oc.env:SECRET}",
        "federation.private=[${oc.env:SECRET}]",
        "hydra.searchpath=[file:///tmp]",
        "++hydra.searchpath=[file:///tmp]",
        "' hydra.searchpath=[file:///tmp]'",
        "experiment=../../secret",
        "experiment=/tmp/secret",
        "'experiment= ../secret'",
        "experiment=[two_cam]",
        "+experiment@data=two_cam",
        "data@privacy=two_cam",
        "+data/synthetic=x",
    ],
)
@pytest.mark.parametrize("policy", ["", None])
def test_nothing_of_a_real_site_is_read_into_a_run(site, run, monkeypatch, word, policy):
    """Whether it has a policy or none: `$\\{` without quotes becomes an interpolation, too."""
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(SettingsError) as error:
        site(f"{run} {word}", **({} if policy == "" else {"policy": None}))
    assert "hunter2" not in str(error.value)
    key = shlex.split(word)[0].strip().lstrip("+").split("=")[0]
    assert key in str(error.value)


def test_words_that_are_harmless_are_taken():
    words = ["experiment=two_cam", "~data.holdout", "++train.lr=1e-3", "run_dir=/a$b/{c}", "data='manifest'"]
    assert run_words(shlex.join(words)) == words


def test_files_that_the_site_allows_can_be_named(site, run, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "link.pt").symlink_to(tmp_path / "federation.key")
    allowed = ("weights = []", f'weights = ["{folder}"]')
    with pytest.raises(PolicyError, match=r"files\.weights"):  # a link out of the folder
        site(f"{run} model.vehicle.pretrained={folder}/link.pt", allowed)
    with pytest.raises(PolicyError, match=r"files\.weights"):
        site(f"{run} model.vehicle.pretrained={folder}/../x.pt", allowed)
    with pytest.raises(Exception, match="weights file of backbone") as error:  # it is allowed, and not there
        site(f"{run} model.vehicle.pretrained={folder}/real.pt", allowed)
    assert not isinstance(error.value, PolicyError)
    assert site(f"{run} model.vehicle.pretrained=False", allowed)
    with pytest.raises(PolicyError, match=r"files\.fetch_weights"):
        site(f"{run} model.vehicle.pretrained=TRUE", ("fetch_weights = true", "fetch_weights = false"))


@pytest.mark.parametrize(
    ("change", "words", "key"),
    [
        (('masking = "none"', 'masking = "pairwise"'), "", "privacy.masking"),
        (("tasks = []", 'tasks = ["plate_text"]'), "", "tasks"),
        (('private = ["*classifier*"]', 'private = ["*blocks.0*"]'), "", "privacy.private"),
        (
            ('ciphers = ["packed_bfv"]', 'ciphers = ["ckks"]'),
            "privacy=ckks privacy.key_holder=cloud",
            "privacy.key_holders",
        ),
    ],
)
def test_a_stricter_site_refuses_what_the_default_takes(site, run, change, words, key):
    with pytest.raises(PolicyError, match=rf"\({key}\)"):
        site(f"{run} {words}", change)


DP = ("[cohort]", "[privacy.dp]\nclip = 1\nnoise_multiplier = 1.5\nepsilon = 12\ndelta = 1e-5\n[cohort]")


def test_least_differential_privacy(site, run):
    """Renyi bound by hand (Mironov, 2017, Prop. 3 and 7): T rounds at sigma cost T alpha / (2 sigma^2) +
    log(1 / delta) / (alpha - 1), least over alpha; noise 2.0 on updates taken as 2 C apart is sigma 1."""

    def bound(rounds):
        alpha = 1 + math.sqrt(math.log(1e5) / (rounds / 2))
        return rounds * alpha / 2 + math.log(1e5) / (alpha - 1)

    assert bound(3) < 12 < bound(30) / 2
    words = f"{run} federation.batch_norm=local privacy.dp.noise_multiplier=2.0 privacy.dp.clip=1.0"
    # The node's ledger, which counts over all runs, gets the smaller limit of the two.
    assert site(words, DP).settings.privacy.dp.epsilon == 12.0
    assert site(f"{words} privacy.dp.epsilon=11.5", DP).settings.privacy.dp.epsilon == 11.5
    assert site(f"{words} privacy.dp.epsilon=100", DP).settings.privacy.dp.epsilon == 12.0
    for worse, key in (
        ("privacy.dp.clip=0", "clip"),
        ("privacy.dp.clip=1.1", "clip"),
        ("~privacy.dp.clip", "clip"),
        ("privacy.dp.noise_multiplier=1.4", "noise_multiplier"),
        ("privacy.dp={clip:1.0,noise_multiplier:0.0}", "noise_multiplier"),
        ("privacy.dp.delta=0.1", "delta"),
        ("federation.rounds=30", "epsilon"),
    ):
        with pytest.raises(PolicyError, match=rf"\(privacy\.dp\.{key}\)"):
            site(f"{words} {worse}", DP)
    with pytest.raises(PolicyError, match=r"\(privacy\.dp\.clip\)"):
        site(run, DP)


@pytest.mark.parametrize("gone", ["data", "data-root", "state-dir"])
def test_a_policy_needs_a_node_that_says_where_its_own_things_are(site, run, gone):
    with pytest.raises(PolicyError, match=r"\(files\)"):
        site(run, **{gone: None})


@pytest.mark.parametrize(
    ("cohort", "share", "key"),
    [
        (["north"], 1.0, "cohort.least"),
        (["north", "north"], 0.5, "cohort.least"),
        (["north", "north", "south"], 0.3, "cohort.least"),
        (["south", "west", "east"], 0.3, "cohort.least"),
        ([], 0.3, "cohort.least"),
        (["north", "south"], 0.5, "cohort.least"),
        (["north", "south", ""], 0.3, "cohort.least"),
        (["north", "south", "west"], 0.96, "cohort.largest_share"),
        (["north", "south", "west"], math.nan, "cohort.largest_share"),
        (["north", "south", "west"], 0.0, "cohort.largest_share"),
        (["north", "south", "west"], 1, "cohort.largest_share"),
    ],
)
def test_no_round_of_too_few_or_with_too_large_a_share(cohort, share, key):
    policy = SitePolicy("north", Path("p"), Policy(format=1, cohort={"least": 3}))
    policy.check_round(["north", "south", "west"], 0.9)
    policy.check_round(["north", "south", "west", "east"], None, ["east"])
    with pytest.raises(PolicyError, match=rf"\({key}\)"):
        policy.check_round(cohort, share)
    with pytest.raises(PolicyError, match=r"\(cohort\.least\)"):  # masks are not disclosed for a sum of two
        policy.check_round(["north", "south", "west", "east"], None, ["east", "west"])


def test_a_round_is_refused_before_training_and_nothing_is_sent(site, run, tmp_path, monkeypatch):
    client = site(f"{run} privacy.max_clients=2")
    monkeypatch.setattr(client_app, "_client_of", lambda *_: client)
    monkeypatch.setattr(client, "_train", lambda *_: pytest.fail("it trained"))
    grid = InProcessGrid(client_app.app, run, [{}])
    for cohort, share in ((["north"], 0.5), (["north", "south"], 0.95)):
        config = {m.RUN_KEY: RUN_KEY, m.SERVER_ROUND: 1, m.COHORT: cohort, m.COEFFICIENT: share}
        message = Message(m.with_config(config), 1, "train", ttl=10.0)
        grid.push_messages([message])
        reply = grid.received[-1]
        assert reply.has_error()
        assert "refused by the site's policy (cohort" in reply.error.reason
        assert str(tmp_path) not in reply.error.reason


# Keys that are texts and name no file; a new key has to be put here, or among the files that a policy checks.
NO_FILES = {
    *("name", "device", "task", "data.reader", "data.val_split", "data.eval_split", "data.partition.by"),
    *("data.made_plates.kinds", "data.equalise.target", "data.equalise.library", "data.equalise.kinds"),
    *("data.equalise.suspects", "train.optimiser", "train.schedule", "train.head_init", "train.precision"),
    *(
        "federation.authority",
        "federation.weighting",
        "federation.private",
        "federation.batch_norm",
        "federation.server_optimiser.name",
    ),
    *("privacy.cipher", "privacy.masking", "privacy.key_id", "privacy.ckks_preset", "privacy.key_holder"),
    *("evaluation.embedding", "evaluation.compare", "evaluation.central_overrides"),
    *("evaluation.stand_alone_overrides", "model.pooling", "model.fusion", "loss.classification", "loss.metric"),
    *("model.decoder",),
}
SITES_OWN = {"data.root", "data.cache_dir", "data.equalise.folder"}
OF_THE_SERVER = {"run_dir", "privacy.cloud_key"}
CHECKED = {"model.backbone", "model.vehicle.backbone", "model.plate.backbone"}
OPTIONS = {"model.options", "model.vehicle.options", "model.plate.options"}


def test_every_key_of_the_settings_is_known_to_name_a_file_or_none():
    """Walks all sections of all tasks; a new text key fails here until somebody has thought about it."""
    found = set()

    def walk(cls, key):
        for name, hint in typing.get_type_hints(cls).items():
            parts = [hint, *typing.get_args(hint)]
            below = f"{key}{name}"
            inner = [part for part in parts if dataclasses.is_dataclass(part)]
            for part in inner:
                walk(part, f"{below}.")
            if not inner and (str in parts or typing.get_origin(hint) is dict or hint is typing.Any):
                found.add(below)

    walk(Settings, "")
    found -= {"model", "loss"}
    for modules in TASKS.values():
        walk(import_module(modules.settings).ModelSettings, "model.")
        walk(import_module(modules.settings).LossSettings, "loss.")
    files = {key for key in found if key in _FILES or key.rsplit(".", 1)[-1] in _FILES}
    assert found - files == NO_FILES | SITES_OWN | OF_THE_SERVER | CHECKED | OPTIONS
