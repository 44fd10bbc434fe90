"""Records of shares at a node: dealt once an attempt, and one question answered, over restarts and processes."""

import json
import multiprocessing

import pytest
from kahe_rounds import KEY, LAYOUT, RUN

from app.federation.share_store import ShareStore
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError

NAMES = ("anna", "bert", "cleo", "dora")


def binding_of(cohort=NAMES, run_key=RUN, server_round=3, attempt=1, nonce="0", layout=LAYOUT):
    return Binding(run_key, layout, server_round, attempt, cohort, nonce)


@pytest.fixture
def stores(tmp_path):
    return {name: ShareStore(tmp_path / name, name, KEY) for name in NAMES}


@pytest.fixture
def cards(stores):
    return {name: store.card for name, store in stores.items()}


def restarted(store):
    return ShareStore(store.folder, store.client, store.key)


def answered(store, cards, binding=None, clients=NAMES, question=b"shares"):
    return store.answer(
        binding or binding_of(), cards, clients, question, lambda seeds: json.dumps(sorted(seeds)).encode()
    )


def test_two_clients_share_a_seed_for_an_attempt_that_nobody_else_has(stores, cards):
    seeds = {name: store.begin(binding_of(), cards) for name, store in stores.items()}
    for one in NAMES:
        assert seeds[one].keys() == set(NAMES), "itself among them"
        for other in NAMES:
            assert seeds[one][other] == seeds[other][one]
    assert len({seed for found in seeds.values() for seed in found.values()}) == 10  # six pairs, and four alone
    later = stores["anna"].begin(binding_of(attempt=2, nonce="1"), cards)
    assert not set(later.values()) & set(seeds["anna"].values())


def test_an_attempt_is_dealt_once(stores, cards):
    stores["anna"].begin(binding_of(), cards)
    for store in (stores["anna"], restarted(stores["anna"])):
        with pytest.raises(CipherError, match="dealt for this attempt already"):
            store.begin(binding_of(), cards)


def test_one_question_is_answered_as_often_as_it_comes_and_no_other(stores, cards):
    anna = stores["anna"]
    anna.begin(binding_of(), cards)
    first = answered(anna, cards)
    for store in (anna, restarted(anna)):
        assert answered(store, cards) == first
        assert answered(store, cards, clients=NAMES[::-1]) == first, "a set has no order"
        for change in ({"clients": NAMES[:3]}, {"question": b"other shares"}):
            with pytest.raises(CipherError, match="anna has answered another question about this attempt"):
                answered(store, cards, **change)


def test_a_question_is_on_disk_before_it_is_answered(stores, cards):
    """A process that ends while it answers has used up its attempt's question."""
    anna = stores["anna"]
    anna.begin(binding_of(), cards)

    def die(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        anna.answer(binding_of(), cards, NAMES, b"shares", die)
    with pytest.raises(CipherError, match="another question"):
        answered(restarted(anna), cards, clients=NAMES[:3])
    assert answered(restarted(anna), cards)


def test_nothing_is_answered_about_what_was_not_dealt(stores, cards):
    anna = stores["anna"]
    others = [
        binding_of(server_round=4),
        binding_of(attempt=2),
        binding_of(nonce="1"),
        binding_of(layout="other"),
        binding_of(run_key="1" * 16),
        binding_of(NAMES[:3]),
        binding_of((*NAMES, "emil")),
    ]
    with pytest.raises(CipherError, match="dealt no shares"):
        answered(anna, cards)
    anna.begin(binding_of(), cards)
    for binding in others:
        with pytest.raises(CipherError, match="anna dealt no shares for this attempt with this cohort"):
            answered(anna, cards, binding)


@pytest.mark.parametrize("go_on", ["round", "attempt", "sum"])
def test_nothing_is_answered_once_the_server_has_gone_on(stores, cards, go_on):
    anna = stores["anna"]
    anna.begin(binding_of(), cards)
    answered(anna, cards)
    if go_on == "sum":
        anna.close(RUN)
    else:
        changes = {"round": {"server_round": 4}, "attempt": {"attempt": 2, "nonce": "1"}}[go_on]
        anna.begin(binding_of(**changes), cards)
    for store in (anna, restarted(anna)):
        with pytest.raises(CipherError, match="once the server has gone on"):
            answered(store, cards)


def test_another_run_does_not_close_this_one(stores, cards):
    anna = stores["anna"]
    anna.begin(binding_of(), cards)
    anna.begin(binding_of(run_key="1" * 16), cards)
    anna.close("2" * 16)
    assert answered(anna, cards)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda cards: cards.pop("bert"), "the share key of bert is missing or not authenticated"),
        (lambda cards: cards.update(bert=cards["cleo"]), "the share key of bert is missing or not authenticated"),
        (lambda cards: cards.update(bert="xyz"), "the share key of bert is missing or not authenticated"),
    ],
)
def test_a_card_that_the_server_made_is_refused(stores, cards, change, fault):
    change(cards)
    with pytest.raises(CipherError, match=fault):
        stores["anna"].begin(binding_of(), cards)
    assert not (stores["anna"].folder / "share_attempts.json").exists()


def test_the_first_key_of_a_client_is_pinned(tmp_path, stores, cards):
    stores["anna"].begin(binding_of(), cards)
    cards["bert"] = ShareStore(tmp_path / "new", "bert", KEY).card
    with pytest.raises(
        CipherError, match=r"bert shows another share key than before; .* remove bert from .*share_peers"
    ):
        stores["anna"].begin(binding_of(attempt=2), cards)


@pytest.mark.parametrize("cohort", [("anna", "bert", "bert"), ("bert", "cleo"), ("anna", "anna")])
def test_a_cohort_of_less_than_it_says_is_refused(stores, cards, cohort):
    with pytest.raises(CipherError, match="does not stand once"):
        stores["anna"].begin(binding_of(cohort), cards)


@pytest.mark.parametrize("name", ["share_attempts.json", "share_open.json", "share_peers.json"])
def test_a_damaged_record_is_named_and_nothing_is_done_without_it(stores, cards, name):
    anna = stores["anna"]
    anna.begin(binding_of(), cards)
    (anna.folder / name).write_text("{", encoding="utf-8")
    for act in (lambda: answered(anna, cards), lambda: anna.begin(binding_of(attempt=2), cards)):
        with pytest.raises(CipherError, match=f"{name} is damaged, and no share is used without it"):
            act()


def _answers(folder, cards, number):
    try:
        return answered(ShareStore(folder, "anna", KEY), cards, clients=NAMES[: 3 + number % 2]), number % 2
    except CipherError as error:
        return str(error)


def test_processes_at_once_answer_one_set(tmp_path, stores, cards):
    stores["anna"].begin(binding_of(), cards)
    with multiprocessing.get_context("fork").Pool(8) as pool:
        found = pool.starmap(_answers, [(tmp_path / "anna", cards, number) for number in range(32)], 1)
    assert len({answer for answer in found if not isinstance(answer, str)}) == 1
    assert {answer for answer in found if isinstance(answer, str)} == {
        "anna has answered another question about this attempt"
    }


def test_the_files_are_for_their_owner_alone(stores):
    for store in stores.values():
        assert (store.folder / "share.key").stat().st_mode & 0o077 == 0
