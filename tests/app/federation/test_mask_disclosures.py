"""Disclosures of masks: of masked attempts alone, until the server has gone on, by any process of a node."""

import json
import multiprocessing

import pytest
from encrypted_payloads import federation_key
from test_mask_store import NAMES, binding_of, cards, masked, opened, stores

from app.federation.mask_store import MaskStore
from strategies.ciphers.cipher import CipherError

__all__ = ["cards", "stores"]  # fixtures


def restarted(store):
    return MaskStore(store.folder, store.client, store.key)


def test_only_what_was_masked_is_disclosed(stores, cards):
    """Seeds of an attempt that this node masked nothing for would open the payloads of the others."""
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
    for store in (anna, masked(anna, cards), restarted(anna)):
        for binding in others:
            with pytest.raises(CipherError, match="anna masked nothing for this attempt with this cohort"):
                store.disclose(binding, cards, ["cleo"])
    assert opened(anna.disclose(binding_of(), cards, ["cleo"])).keys() == {"cleo"}


@pytest.mark.parametrize("go_on", ["round", "attempt", "sum"])
def test_nothing_is_disclosed_once_the_server_has_gone_on(stores, cards, go_on):
    """Neither what was never disclosed nor what was: the seeds could be asked for when a late update has arrived."""
    anna = masked(stores["anna"], cards)
    anna.disclose(binding_of(), cards, ["dora"])
    if go_on == "sum":
        anna.close(binding_of().run_key)
    else:
        changes = {"round": {"server_round": 4}, "attempt": {"attempt": 2, "nonce": "1"}}[go_on]
        anna.begin(binding_of(**changes), cards)
    for store in (anna, restarted(anna)):
        for missing in (["dora"], ["cleo"]):
            with pytest.raises(CipherError, match="not disclosed once the server has gone on"):
                store.disclose(binding_of(), cards, missing)
        with pytest.raises(CipherError, match="masked already"):
            store.begin(binding_of(), cards)  # what was disclosed hides nothing any more


def test_another_run_does_not_close_this_one(stores, cards):
    anna = masked(stores["anna"], cards)
    anna.begin(binding_of(run_key="1" * 16), cards)
    anna.close("2" * 16)
    assert opened(anna.disclose(binding_of(), cards, ["dora"])).keys() == {"dora"}


@pytest.mark.parametrize("names", [("anna", "bert", "bert"), ("bert", "cleo", "dora"), ("anna", "anna", "bert")])
def test_a_cohort_of_less_than_it_says_is_refused(stores, cards, names):
    with pytest.raises(CipherError, match="does not stand once in a cohort of different names"):
        stores["anna"].begin(binding_of(names), cards)


def test_processes_at_once_mask_an_attempt_once_and_disclose_one_set(tmp_path, stores, cards):
    """Sixteen processes of one node begin and disclose the same attempts at once: of each attempt one payload is
    masked, and one set of drop-outs answered; no pin, attempt or answer is written over."""
    attempts = range(4)
    context = multiprocessing.get_context("fork")
    with context.Pool(16) as pool:
        work = [(tmp_path / "anna", cards, number % len(attempts)) for number in range(64)]
        begun = pool.starmap(_begins, work, 1)
    assert sorted(number for number in begun if number >= 0) == list(attempts)
    anna = restarted(stores["anna"])
    binding = binding_of(attempt=9)
    anna.begin(binding, cards)
    with context.Pool(8) as pool:
        work = [(tmp_path / "anna", cards, binding, [name]) for name in ("bert", "cleo", "dora") * 8]
        answered = pool.starmap(_discloses, work, 1)
    assert len({name for name in answered if name}) == 1
    assert answered.count("") == 16
    assert len(json.loads((tmp_path / "anna" / "mask_used.json").read_text(encoding="utf-8"))) == 5


def _begins(folder, cards, number):
    try:
        MaskStore(folder, "anna", federation_key()).begin(binding_of(attempt=number), cards)
    except CipherError:
        return -1
    return number


def _discloses(folder, cards, binding, missing):
    try:
        return next(
            iter(opened(MaskStore(folder, "anna", federation_key()).disclose(binding, cards, missing), binding))
        )
    except CipherError:
        return ""


def test_processes_that_start_at_once_share_one_key(tmp_path):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        cards = pool.map(_card, [tmp_path / "new"] * 16, 1)
    assert len(set(cards)) == 1


def _card(folder):
    return MaskStore(folder, "anna", federation_key()).card


@pytest.mark.parametrize("name", ["mask_used.json", "mask_open.json", "mask_disclosed.json", "mask_peers.json"])
def test_a_damaged_record_is_named_and_not_taken_for_empty(stores, cards, name):
    anna = masked(stores["anna"], cards)
    anna.disclose(binding_of(), cards, ["dora"])
    (anna.folder / name).write_text("{", encoding="utf-8")
    with pytest.raises(CipherError, match=f"{name} is damaged"):
        anna.disclose(binding_of(), cards, ["dora"])
