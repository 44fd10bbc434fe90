"""Records of shares at a node: dealt once an attempt, and one question answered, over restarts and processes."""

import json
import multiprocessing
import time

import pytest
from kahe_rounds import KEY, LAYOUT, RUN

from app.federation.share_store import ShareStore
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.share_keys import ShareKeyError, new_share_keys
from strategies.signing import new_signing_key

NAMES = ("anna", "bert", "cleo", "dora")
AUTHORITY = new_signing_key()


def binding_of(cohort=NAMES, run_key=RUN, server_round=3, attempt=1, nonce="0", layout=LAYOUT):
    return Binding(run_key, layout, server_round, attempt, cohort, nonce)


def keys_of(name, federation="parks", key_id=KEY.key_id, authority=AUTHORITY, **more):
    return new_share_keys(federation, name, key_id, authority, now=time.time(), **more)


@pytest.fixture
def stores(tmp_path):
    return {name: ShareStore(tmp_path / name, keys_of(name)) for name in NAMES}


@pytest.fixture
def texts(stores):
    """The authority's statements by name."""
    return {name: store.keys.text for name, store in stores.items()}


def restarted(store):
    return ShareStore(store.folder, store.keys)


def begun(store, texts, binding=None):
    return store.begin(binding or binding_of(), texts.values())


def answered(store, texts, binding=None, clients=NAMES, question=b"shares"):
    return store.answer(
        binding or binding_of(),
        texts.values(),
        clients,
        question,
        lambda bound, seeds: json.dumps([bound.members, sorted(seeds)]).encode(),
    )


def test_two_clients_share_a_seed_for_an_attempt_that_nobody_else_has(stores, texts):
    found = {name: begun(store, texts) for name, store in stores.items()}
    seeds = {name: seeds for name, (_, seeds) in found.items()}
    assert len({binding.members for binding, _ in found.values()} - {""}) == 1
    for one in NAMES:
        assert seeds[one].keys() == set(NAMES), "itself among them"
        for other in NAMES:
            assert seeds[one][other] == seeds[other][one]
    assert len({seed for found in seeds.values() for seed in found.values()}) == 10  # six pairs, and four alone
    _, later = begun(stores["anna"], texts, binding_of(attempt=2, nonce="1"))
    assert not set(later.values()) & set(seeds["anna"].values())


def test_an_attempt_is_dealt_once(stores, texts):
    begun(stores["anna"], texts)
    for store in (stores["anna"], restarted(stores["anna"])):
        with pytest.raises(CipherError, match="dealt for this attempt already"):
            begun(store, texts)


def test_one_question_is_answered_as_often_as_it_comes_and_no_other(stores, texts):
    anna = stores["anna"]
    begun(anna, texts)
    first = answered(anna, texts)
    for store in (anna, restarted(anna)):
        assert answered(store, texts) == first
        assert answered(store, texts, clients=NAMES[::-1]) == first, "a set has no order"
        for change in ({"clients": NAMES[:3]}, {"question": b"other shares"}):
            with pytest.raises(CipherError, match="anna has answered another question about this attempt"):
                answered(store, texts, **change)


def test_a_question_is_on_disk_before_it_is_answered(stores, texts):
    """A process that ends while it answers has used up its attempt's question."""
    anna = stores["anna"]
    begun(anna, texts)

    def die(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        anna.answer(binding_of(), texts.values(), NAMES, b"shares", die)
    with pytest.raises(CipherError, match="another question"):
        answered(restarted(anna), texts, clients=NAMES[:3])
    assert answered(restarted(anna), texts)


def test_nothing_is_answered_about_what_was_not_dealt(stores, texts, tmp_path):
    anna = stores["anna"]
    emil = ShareStore(tmp_path / "emil", keys_of("emil")).keys.text
    others = [
        (binding_of(server_round=4), texts),
        (binding_of(attempt=2), texts),
        (binding_of(nonce="1"), texts),
        (binding_of(layout="other"), texts),
        (binding_of(run_key="1" * 16), texts),
        (binding_of(NAMES[:3]), {name: texts[name] for name in NAMES[:3]}),
        (binding_of((*NAMES, "emil")), texts | {"emil": emil}),
        (binding_of(), texts | {"bert": keys_of("bert").text}),  # valid, and another key than in the training message
    ]
    with pytest.raises(CipherError, match="dealt no shares"):
        answered(anna, texts)
    begun(anna, texts)
    for binding, shown in others:
        with pytest.raises(CipherError, match="anna dealt no shares for this attempt with this cohort"):
            answered(anna, shown, binding)


@pytest.mark.parametrize("go_on", ["round", "attempt", "sum"])
def test_nothing_is_answered_once_the_server_has_gone_on(stores, texts, go_on):
    anna = stores["anna"]
    begun(anna, texts)
    answered(anna, texts)
    if go_on == "sum":
        anna.close(RUN)
    else:
        changes = {"round": {"server_round": 4}, "attempt": {"attempt": 2, "nonce": "1"}}[go_on]
        begun(anna, texts, binding_of(**changes))
    for store in (anna, restarted(anna)):
        with pytest.raises(CipherError, match="once the server has gone on"):
            answered(store, texts)


def test_another_run_does_not_close_this_one(stores, texts):
    anna = stores["anna"]
    begun(anna, texts)
    begun(anna, texts, binding_of(run_key="1" * 16))
    anna.close("2" * 16)
    assert answered(anna, texts)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda texts: texts.pop("bert"), "no statement of the authority about the share key of bert"),
        (lambda texts: texts.update(bert=texts["cleo"]), "two statements of the share key of cleo"),
        (lambda texts: texts.update(bert="xyz"), "share key"),
        (lambda texts: texts.update(bert=keys_of("bert", authority=new_signing_key()).text), "bert is not signed by"),
        (
            lambda texts: texts.update(bert=keys_of("bert", "zoos").text),
            "bert is of the federation 'zoos', not 'parks'",
        ),
        (lambda texts: texts.update(bert=keys_of("bert", key_id="f" * 16).text), "bert"),
        (lambda texts: texts.update(anna=keys_of("anna").text), "another share key than its own is shown for anna"),
    ],
)
def test_what_the_authority_did_not_sign_of_this_cohort_is_refused_by_name(stores, texts, change, fault):
    change(texts)
    with pytest.raises(ShareKeyError, match=fault):
        begun(stores["anna"], texts)
    assert not (stores["anna"].folder / "share_attempts.json").exists()


def test_clients_that_were_shown_other_keys_share_no_seed(stores, texts):
    """Two valid statements of one site, as after a renewal, of which the server shows each to one client."""
    binding, first = begun(stores["anna"], texts)
    other, second = begun(stores["cleo"], texts | {"bert": keys_of("bert").text})
    assert binding.members != other.members
    assert first["cleo"] != second["anna"]


@pytest.mark.parametrize("cohort", [("anna", "bert", "bert"), ("bert", "cleo"), ("anna", "anna")])
def test_a_cohort_of_less_than_it_says_is_refused(stores, texts, cohort):
    shown = {name: texts[name] for name in cohort}
    with pytest.raises(ShareKeyError, match=r"stands twice in the cohort|anna is not in the cohort"):
        begun(stores["anna"], shown, binding_of(cohort))


@pytest.mark.parametrize("name", ["share_attempts.json", "share_open.json"])
def test_a_damaged_record_is_named_and_nothing_is_done_without_it(stores, texts, name):
    anna = stores["anna"]
    begun(anna, texts)
    (anna.folder / name).write_text("{", encoding="utf-8")
    for act in (lambda: answered(anna, texts), lambda: begun(anna, texts, binding_of(attempt=2))):
        with pytest.raises(CipherError, match=f"{name} is damaged, and no share is used without it"):
            act()


def _answers(store, texts, number):
    try:
        return answered(restarted(store), texts, clients=NAMES[: 3 + number % 2]), number % 2
    except CipherError as error:
        return str(error)


def _answers_of(number):
    return _answers(*_shared, number)


_shared = ()


def test_processes_at_once_answer_one_set(stores, texts):
    global _shared  # inherited by the processes: a private key is not pickled
    begun(stores["anna"], texts)
    _shared = (stores["anna"], texts)
    with multiprocessing.get_context("fork").Pool(8) as pool:
        found = pool.map(_answers_of, range(32), 1)
    assert len({answer for answer in found if not isinstance(answer, str)}) == 1
    assert {answer for answer in found if isinstance(answer, str)} == {
        "anna has answered another question about this attempt"
    }
