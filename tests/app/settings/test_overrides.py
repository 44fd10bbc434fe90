"""Overrides that Hydra's grammar does not read: paths of any name, values of the wrong form, sweeps without a job."""

import shlex
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import conf
from app.client_app import _make_client
from app.settings.load import SettingsError, load_settings, text_keys
from app.settings.overrides import override, quoted, readable, sweep, toml_text, value_of
from app.settings.stored import with_overrides


def batched(texts, count):
    return [texts[start : start + count] for start in range(0, len(texts), count)]


NASTY = [
    "/home/josé (1)",
    "a=b",
    "it's",
    "/data/车辆",
    "/data/😀",
    "2024",
    "1e5",
    "true",
    "a,b",
    "[x]",
    "{a: b}",
    " blank at the ends ",
    'say "hi"',
    "back\\slash\\",
    "\\'",
    "\\\"both'",
    "${data.reader}",
    "\\${x}",
    "${",
    "a#b;c&d!e~f^g`h",
    "~/x",
    "glob(*)",
    "range(0)",
    "new\nline",
    "tab\tand\x7f",
    "key: value",
    "-",
    "'",
    "++x",
]


KEYS = ("run_dir", "data.root", "data.cache_dir", "privacy.cloud_key", "data.equalise.folder")
AS_TYPED = [text for text in NASTY if "$" not in text and text not in ("-", "'") and not text.startswith("\\")]


def found(composed, key):
    for part in key.split("."):
        composed = getattr(composed, part)
    return composed


@pytest.fixture(scope="module")
def kept():
    return load_settings(["experiment=quickstart"]).as_dict()


@pytest.mark.parametrize("texts", batched(NASTY, len(KEYS)))
def test_a_path_of_the_project_is_handed_on_as_it_is(texts):
    """Through the one string that Flower carries; several at once, because Hydra takes its time."""
    asked = dict(zip(KEYS, texts, strict=False))
    composed = load_settings(shlex.join(override(key, text) for key, text in asked.items()))
    assert {key: found(composed, key) for key in asked} == asked


@pytest.mark.parametrize("texts", batched(AS_TYPED, len(KEYS)))
def test_a_path_that_a_user_types_needs_no_quotes(texts):
    asked = dict(zip(KEYS, texts, strict=False))
    composed = load_settings([f"{key}={text}" for key, text in asked.items()])
    assert {key: found(composed, key) for key in asked} == asked


@pytest.mark.parametrize("text", AS_TYPED)
def test_nor_does_one_of_a_checkpoint(kept, text):
    changed = with_overrides(kept, [f"data.root={text}"])
    assert changed.data.root == text
    assert {**changed.as_dict(), "data": None} == {**kept, "data": None}


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_grammar(text):
    assert value_of(f"run_dir={quoted(text)}") == ("run_dir", text)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_toml(text):
    assert tomllib.loads(f"overrides = {toml_text(text)}")["overrides"] == text


@pytest.mark.parametrize(
    "word",
    [
        "data.root=/plain/path",
        "data.root='quoted, with commas'",
        'data.root="a=b"',
        "data.root=null",
        "model.plate=null",
        "train.steps=[0.5,0.75]",
        "model.vehicle.options={channels: [48, 96]}",
        "evaluation.central_overrides=['train.lr=1e-3']",
        "data.root=${oc.env:HOME}",
        "~data.root",
        "seed=3",
    ],
)
def test_what_the_grammar_reads_keeps_its_meaning(word):
    assert readable(word, text_keys()) == word


def test_the_key_decides_between_a_value_of_the_grammar_and_its_text():
    assert value_of("evaluation.batch_size=7", text_keys()) == ("evaluation.batch_size", 7)
    assert value_of("data.root=7", text_keys()) == ("data.root", "7")
    assert value_of("model.plate=null", text_keys()) == ("model.plate", None)
    assert load_settings(["name=2024"]).name == "2024"


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("data.root=\udcff", "data.root: '\\udcff' is not valid UTF-8"),
        ("federation.private=[a(b]", "quote each text in it, as in federation.private="),
        ("rerank", "not of the form key=value: 'rerank'"),
        ("datä=x", "not of the form key=value: 'datä=x'"),
        ("train.lr=fast;", "train.lr: Input should be a valid number; got 'fast;'"),
        ("experiment=车", "there is no experiment=车"),
    ],
)
def test_what_cannot_be_read_is_named_in_the_users_words(word, named):
    with pytest.raises(SettingsError) as caught:
        load_settings([word])
    assert named in str(caught.value)
    assert "Lexer" not in str(caught.value)


def test_an_open_quote_in_the_run_config_is_named():
    with pytest.raises(SettingsError, match=r"\"run_dir=/home/it's\" are not words of a shell: No closing quotation"):
        load_settings("run_dir=/home/it's")


@pytest.mark.parametrize(
    ("word", "named"),
    [
        (f"seed={10**23}", f"seed must be at most {2**63 - 1}; got {10**23}"),
        ("seed=10^23", "seed must be of type int, got '10^23'"),
        (f"seed={'9' * 4000}", "got a number of about 4000 digits"),
        (f"seed={'9' * 5000}", "seed must be of type int"),
        (f"data.synthetic.seed={2**64}", "data.synthetic.seed must be at most"),
        ("train.batch_size=99999999999", "train.batch_size must be at most 2147483647"),
        ("train.pids_per_batch=2147483648", "train.pids_per_batch must be at most"),
        ("data.workers=99999999999999999999999", "data.workers must be at most"),
        (f"federation.rounds={10**20}", "federation.rounds must be at most"),
        (f"train.lr=1{'0' * 400}", "train.lr must be at most"),
        ("train.epochs=1e400", "train.epochs must be a finite number"),
        ("train.steps=[nan]", "train.steps[0] must be a finite number"),
    ],
)
def test_a_number_that_nothing_can_hold_names_its_key(word, named):
    with pytest.raises(SettingsError) as caught:
        load_settings(["experiment=quickstart", word])
    assert named in str(caught.value)


def test_a_seed_of_64_bits_is_taken():
    assert load_settings([f"seed={2**63 - 1}"]).seed == 2**63 - 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["seed=1,,2"], "'seed=1,,2' has an empty value beside a comma"),
        (["seed=1,"], "has an empty value"),
        (["seed=,1"], "has an empty value"),
        (["seed=range(0)"], "seed=range(0) has no value, so nothing would be run"),
        (["seed=range(3,1)"], "has no value"),
        (["seed=glob(*)"], "has no value"),
        (["experiment=glob(nothing*)"], "has no value"),
        (["train.lr=interval(0,1)"], "train.lr=interval(0,1)"),
        (["seed=1,2", "seed=3"], "seed is swept over and given again"),
        (["seed=range(0,1000000000)"], "over 1,000 jobs"),
        (["seed=range(100)", "train.lr=range(0,1,0.01)"], "over 1,000 jobs"),
        (["federation.private=[a(b],[c]"], "quote each text in it"),
        (["seed"], "not of the form key=value"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_named(words, named):
    with pytest.raises(SettingsError) as caught:
        sweep(words, text_keys())
    assert named in str(caught.value)


def test_a_sweep_over_paths_is_cut_at_commas_outside_quotes():
    jobs = sweep(["data.root=/data/车辆,it's,'a,b',josé (1,2)"], text_keys())
    assert [load_settings(job).data.root for job in jobs] == ["/data/车辆", "it's", "a,b", "josé (1,2)"]
    assert [load_settings(job).name for job in sweep(["name=2024,2025"], text_keys())] == ["2024", "2025"]


def test_a_job_that_comes_twice_is_run_once():
    assert sweep(["seed=1,2,1"]) == [["seed=1"], ["seed=2"]]
    assert sweep(["data=two_cam,two_cam"]) == [["data=two_cam"]]


def test_a_glob_is_over_the_files_of_a_group():
    names = {path.stem for path in (Path(__file__).parents[3] / "conf" / "experiment").glob("p*.yaml")}
    assert {job[0] for job in sweep(["experiment=glob(p*)"])} == {f"experiment={name}" for name in names}
    assert names


@pytest.mark.parametrize("name", ['a"b\\c', "it's", "${x}", "a\\"])
def test_a_site_may_keep_its_images_in_any_folder(name, tmp_path):
    """The folder that is looked for is the one of the node config, letter by letter."""
    node = (("client", "garage"), ("data", "manifest"), ("data-root", str(tmp_path / name)), ("partition-id", "0"))
    with pytest.raises((OSError, ValueError)) as caught:
        _make_client("", node, "0" * 16, 1)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("group", ["data", "experiment", "model", "privacy"])
def test_all_choices_of_a_group_are_named(group):
    with pytest.raises(SettingsError) as caught:
        load_settings([f"{group}=zzz"])
    known = str(caught.value).partition("known: ")[2].split(", ")
    assert known == sorted(path.stem for path in (Path(conf.__file__).parent / group).glob("*.yaml"))
