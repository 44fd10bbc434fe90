"""A site's policy file, and a run that tries to weaken it in every way that a run config offers."""

import logging
import math
import shlex
from pathlib import Path

import pytest

from app import client_app
from app.federation.open_client import NodeConfigError
from app.federation.policy import Policy, PolicyFileError, read_policy
from app.federation.refusals import PolicyError
from app.federation.run_words import run_words
from app.settings.load import SettingsError

TEMPLATE = Path(client_app.__file__).parent / "deployment/templates/policy.toml"
RUN_KEY = "0123456789abcdef"


def test_the_policy_that_init_makes_is_the_strict_default(policy_file):
    assert read_policy(policy_file()) == Policy(format=1)
    assert Policy(format=1).privacy.ciphers == ["kahe"]


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
        ([('["kahe"]', "[]")], r"privacy.ciphers: List should have at least 1 item"),
        ([('["kahe"]', '"kahe"')], r"privacy.ciphers: Input should be a valid list"),
        ([('["kahe"]', '["rot13"]')], r"privacy.ciphers.1: Input should be 'kahe'"),
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


def test_a_site_without_the_file_that_its_node_config_names_takes_no_part(policed_site, policed_run, tmp_path, caplog):
    with pytest.raises(PolicyError) as error:
        policed_site(policed_run, policy=str(tmp_path / "gone.toml"))
    assert str(error.value) == "north: its policy file cannot be used; the site's own log says why"
    assert "gone.toml cannot be read: No such file" in caplog.text
    with pytest.raises(PolicyError, match="its policy file cannot be used"):
        policed_site(policed_run, ("least = 2", "least = 0"))


def test_a_run_within_the_policy_trains_and_gets_no_more_of_the_machine(policed_site, policed_run):
    words = "data.workers=64 data.cache_mb=1000000 data.cache_dir_mb=1000 train.threads=1"
    client = policed_site(f"{policed_run} {words}", ("workers = 8", "workers = 2"), ("threads = 0", "threads = 4"))
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
    "privacy=kahe privacy.cipher=plain": "privacy.ciphers",
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
    "loss.metric_options.path=here": "files.weights",
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
def test_a_run_cannot_weaken_the_policy_of_init(policed_site, policed_run, pictures_root, tmp_path, caplog, words, key):
    """None: the run is taken, and what the words name stays the site's own."""
    if words.startswith("task="):
        policed_run = ""
    if key is None:
        data = policed_site(f"{policed_run} {words}").settings.data
        assert (data.reader, data.root, data.partition.by) == ("manifest", str(pictures_root), "none")
        assert (data.cache_dir, data.equalise.folder) == (
            str(tmp_path / "node/pictures"),
            str(tmp_path / "node/equalised"),
        )
        return
    with caplog.at_level(logging.ERROR), pytest.raises(PolicyError) as error:
        policed_site(f"{policed_run} {words}")
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
def test_nothing_of_a_real_site_is_read_into_a_run(policed_site, policed_run, monkeypatch, word, policy):
    """Whether it has a policy or none: `$\\{` without quotes becomes an interpolation, too."""
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(SettingsError) as error:
        policed_site(f"{policed_run} {word}", **({} if policy == "" else {"policy": None}))
    assert "hunter2" not in str(error.value)
    key = shlex.split(word)[0].strip().lstrip("+").split("=")[0]
    assert key in str(error.value)


CLASH = "~data=regdb experiment=regdb '++data={reader:manifest,root:x}'"  # the node's own data= cannot join it


def test_words_that_clash_with_the_nodes_own_find_out_no_file(policed_site, tmp_path):
    """The answer is the same for a file that is there, and for one that is not."""
    there = tmp_path / "AB123.jpg"
    there.touch()
    for clash in (CLASH, "data=regdb experiment=regdb ~data.root"):
        told = set()
        for path in (there, tmp_path / "gone.jpg"):
            with pytest.raises(SettingsError) as error:
                policed_site(f"{clash} loss.perceptual_weights={path}")
            told.add((type(error.value), str(error.value)))
        assert told == {
            (PolicyError, "north: refused by the site's policy (files.weights); the site's own log says why")
        }


def test_a_run_learns_the_errors_in_its_own_overrides(policed_site):
    with pytest.raises(SettingsError, match=r"train\.lr") as error:
        policed_site(f"{CLASH} train.lr=-1")
    assert type(error.value) is SettingsError
    with pytest.raises(NodeConfigError):  # nothing is, for itself
        policed_site(CLASH)


def test_words_that_are_harmless_are_taken():
    words = ["experiment=two_cam", "~data.holdout", "++train.lr=1e-3", "run_dir=/a$b/{c}", "data='manifest'"]
    assert run_words(shlex.join(words)) == words


def test_files_that_the_site_allows_can_be_named(policed_site, policed_run, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "link.pt").symlink_to(tmp_path / "federation.key")
    allowed = ("weights = []", f'weights = ["{folder}"]')
    with pytest.raises(PolicyError, match=r"files\.weights"):  # a link out of the folder
        policed_site(f"{policed_run} model.vehicle.pretrained={folder}/link.pt", allowed)
    with pytest.raises(PolicyError, match=r"files\.weights"):
        policed_site(f"{policed_run} model.vehicle.pretrained={folder}/../x.pt", allowed)
    with pytest.raises(Exception, match="weights file of backbone") as error:  # it is allowed, and not there
        policed_site(f"{policed_run} model.vehicle.pretrained={folder}/real.pt", allowed)
    assert not isinstance(error.value, PolicyError)
    assert policed_site(f"{policed_run} model.vehicle.pretrained=False", allowed)
    with pytest.raises(PolicyError, match=r"files\.fetch_weights"):
        policed_site(f"{policed_run} model.vehicle.pretrained=TRUE", ("fetch_weights = true", "fetch_weights = false"))


@pytest.mark.parametrize(
    ("change", "words", "key"),
    [
        (("tasks = []", 'tasks = ["plate_text"]'), "", "tasks"),
        (('private = ["*classifier*"]', 'private = ["*blocks.0*"]'), "", "privacy.private"),
        (
            ('ciphers = ["kahe"]', 'ciphers = ["ckks"]'),
            "privacy=ckks privacy.key_holder=cloud",
            "privacy.key_holders",
        ),
    ],
)
def test_a_stricter_site_refuses_what_the_default_takes(policed_site, policed_run, change, words, key):
    with pytest.raises(PolicyError, match=rf"\({key}\)"):
        policed_site(f"{policed_run} {words}", change)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("*conv_head.weight", "the run shares vehicle.backbone.conv_head.buckets"),
        ("*conv_head.buckets", "the run shares vehicle.backbone.conv_head.buckets"),
        ("*conv_haed.weight", "'*conv_haed.weight' matches no array of the run's network"),
    ],
)
def test_a_weight_that_must_stay_does_not_leave_in_buckets(policed_site, policed_run, caplog, pattern, reason):
    private = ('private = ["*classifier*"]', f'private = ["*classifier*", "{pattern}"]')
    with caplog.at_level(logging.ERROR), pytest.raises(PolicyError, match=r"\(privacy\.private\)"):
        policed_site(f"{policed_run} model.hashed=0.5", private)
    assert reason in caplog.text
    policed_site(
        f"{policed_run} model.hashed=0.5 federation.private=['*classifier*','*conv_head*']",
        (private[0], private[1].replace(pattern, "*conv_head.weight")),
    )


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("train.batch_size=1025", "batch_size"),
        ("train.pids_per_batch=342 train.images_per_pid=3", "batch_size"),
        ("evaluation.batch_size=100000000", "batch_size"),
        ("data.equalise.target=1000000000", "equalise_target"),
        ("data.equalise=1001", "equalise_target"),
        ("data.equalise.candidates=1000", "equalise_candidates"),
    ],
)
def test_a_run_that_would_fill_the_machine_is_refused(policed_site, policed_run, words, key):
    with pytest.raises(PolicyError, match=rf"\(resources\.{key}\)"):
        policed_site(f"{policed_run} {words}")


DP = ("[cohort]", "[privacy.dp]\nclip = 1\nnoise_multiplier = 1.5\nepsilon = 12\ndelta = 1e-5\n[cohort]")


def test_least_differential_privacy(policed_site, policed_run):
    """Renyi bound by hand (Mironov, 2017, Prop. 3 and 7): T rounds at sigma cost T alpha / (2 sigma^2) +
    log(1 / delta) / (alpha - 1), least over alpha; noise 2.0 on updates taken as 2 C apart is sigma 1."""

    def bound(rounds):
        alpha = 1 + math.sqrt(math.log(1e5) / (rounds / 2))
        return rounds * alpha / 2 + math.log(1e5) / (alpha - 1)

    assert bound(3) < 12 < bound(30) / 2
    words = f"{policed_run} federation.batch_norm=local privacy.dp.noise_multiplier=2.0 privacy.dp.clip=1.0"
    # The node's ledger, which counts over all runs, gets the smaller limit of the two.
    assert policed_site(words, DP).settings.privacy.dp.epsilon == 12.0
    assert policed_site(f"{words} privacy.dp.epsilon=11.5", DP).settings.privacy.dp.epsilon == 11.5
    assert policed_site(f"{words} privacy.dp.epsilon=100", DP).settings.privacy.dp.epsilon == 12.0
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
            policed_site(f"{words} {worse}", DP)
    with pytest.raises(PolicyError, match=r"\(privacy\.dp\.clip\)"):
        policed_site(policed_run, DP)


@pytest.mark.parametrize("gone", ["data", "data-root", "state-dir"])
def test_a_policy_needs_a_node_that_says_where_its_own_things_are(policed_site, policed_run, gone):
    with pytest.raises(PolicyError, match=r"\(files\)"):
        policed_site(policed_run, **{gone: None})
