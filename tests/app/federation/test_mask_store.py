"""A node's mask key and the cards of the others: pinned, authenticated, and disclosed once per attempt."""

import json
import os
import stat
from dataclasses import replace

import numpy as np
import pytest
from encrypted_payloads import federation_key, flipped

from app.federation.mask_store import MaskStore
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.masks import disclosure_purpose, key_tag, new_mask_key, public_mask_key
from strategies.ciphers.packed_bfv import PackedBfvCipher, PackedBfvSum

NAMES = ("anna", "bert", "cleo", "dora")


def binding_of(names=NAMES, **changes):
    return replace(Binding("0" * 16, "layout", 3, 1, tuple(names)), **changes)


@pytest.fixture
def stores(tmp_path):
    return {name: MaskStore(tmp_path / name, name, federation_key()) for name in NAMES}


@pytest.fixture
def cards(stores):
    return {name: store.card for name, store in stores.items()}


def forged(name, key=None):
    """A card of a new key for `name`, authenticated by `key`."""
    public = public_mask_key(new_mask_key())
    return (public + key_tag((key or federation_key()).secret("seal"), name, public)).hex()


def test_each_pair_shares_a_seed_of_its_own(stores, cards):
    seeds = {name: store.seeds(binding_of(), cards) for name, store in stores.items()}
    for first in NAMES:
        assert set(seeds[first]) == set(NAMES) - {first}
        for second in seeds[first]:
            assert seeds[first][second] == seeds[second][first]
    assert len({seed for row in seeds.values() for seed in row.values()}) == 6


def test_the_key_is_the_nodes_own_and_stays(tmp_path, stores):
    path = tmp_path / "anna" / "mask.key"
    again = MaskStore(tmp_path / "anna", "anna", federation_key())
    assert again.card == stores["anna"].card != stores["bert"].card
    assert len(path.read_bytes()) == 32
    assert path.read_bytes().hex() not in again.card
    assert public_mask_key(path.read_bytes()).hex() == again.card[:64]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_the_key_file_is_its_owners_alone(tmp_path):
    before = os.umask(0)
    try:
        MaskStore(tmp_path / "node", "anna", federation_key())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "node" / "mask.key").stat().st_mode) == 0o600
    assert [entry.name for entry in (tmp_path / "node").iterdir() if entry.name[0] != "."] == ["mask.key"]


FORGERIES = {
    "empty": lambda: "",
    "no hexadecimal digits": lambda: "no hex",
    "of another federation": lambda: forged("bert", federation_key(1)),
    "of another client": lambda: forged("cleo"),
    "with another key": lambda: flipped(bytes.fromhex(forged("bert")), 0).hex(),
    "with another tag": lambda: flipped(bytes.fromhex(forged("bert")), -1).hex(),
    "cut short": lambda: forged("bert")[:-2],
    "of zeros": lambda: "00" * 64,
}


@pytest.mark.parametrize("make", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_card_is_refused_by_name(stores, cards, make):
    with pytest.raises(CipherError, match="the mask key of bert is missing or not authenticated"):
        stores["anna"].seeds(binding_of(), {**cards, "bert": make()})
    # A card that was refused is not pinned.
    assert set(stores["anna"].seeds(binding_of(), cards)) == {"bert", "cleo", "dora"}


def test_a_missing_card_is_refused_by_name(stores, cards):
    del cards["cleo"]
    with pytest.raises(CipherError, match="the mask key of cleo is missing"):
        stores["anna"].seeds(binding_of(), cards)


def test_another_card_than_before_is_refused_by_name_also_after_a_restart(tmp_path, stores, cards):
    before = stores["anna"].seeds(binding_of(), cards)
    changed = {**cards, "bert": forged("bert")}
    for store in (stores["anna"], MaskStore(tmp_path / "anna", "anna", federation_key())):
        with pytest.raises(CipherError, match=r"bert shows another mask key than before.* remove bert from .*peers"):
            store.seeds(binding_of(), changed)
        assert store.seeds(binding_of(), cards) == before
    # The way out that the error names.
    path = tmp_path / "anna" / "mask_peers.json"
    pins = json.loads(path.read_text(encoding="utf-8"))
    assert cards["bert"].startswith(pins.pop("bert"))
    path.write_text(json.dumps(pins), encoding="utf-8")
    assert stores["anna"].seeds(binding_of(), changed)["bert"] != before["bert"]


@pytest.mark.parametrize("names", [("anna",), ("anna", "bert"), ()])
def test_a_cohort_that_hides_nobody_is_refused(stores, cards, names):
    with pytest.raises(CipherError, match=f"need 3 clients in a round, this one has {len(names)}"):
        stores["anna"].seeds(binding_of(names), cards)


def opened(sealed, binding=None, client="anna"):
    fields = (binding or binding_of()).fields()
    return json.loads(federation_key().open(sealed, disclosure_purpose(fields, client)))


def masked(store, cards, binding=None):
    """The store after it masked a payload of this attempt."""
    store.begin(binding or binding_of(), cards)
    return store


def test_seeds_shared_with_drop_outs_are_disclosed_and_no_others(stores, cards):
    seeds = stores["anna"].begin(binding_of(), cards)
    sealed = stores["anna"].disclose(binding_of(), cards, ["dora"])
    assert opened(sealed) == {"dora": seeds["dora"].hex()}
    assert seeds["dora"] not in sealed
    assert seeds["dora"].hex().encode() not in sealed
    second = binding_of(attempt=2)
    sealed = masked(stores["anna"], cards, second).disclose(second, cards, ["cleo", "dora"])
    assert opened(sealed, second).keys() == {"cleo", "dora"}
    for other in (binding_of(), replace(second, nonce="1"), binding_of(NAMES[:3], attempt=2)):
        with pytest.raises(CipherError, match="sealed under another key or for another purpose"):
            opened(sealed, other)
    with pytest.raises(CipherError, match="for another purpose"):
        opened(sealed, second, "bert")


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ([], r"cannot disclose masks with \[\]"),
        (["anna"], r"cannot disclose masks with \['anna'\]"),
        (["anna", "bert"], "cannot disclose masks"),
        (["emil"], r"cannot disclose masks with \['emil'\]"),
        (["bert", "cleo", "dora"], "masks are not removed from a sum of one client"),
    ],
)
def test_disclosures_that_would_unmask_somebody_are_refused(stores, cards, missing, reason):
    with pytest.raises(CipherError, match=reason):
        masked(stores["anna"], cards).disclose(binding_of(), cards, missing)


def test_an_attempt_is_disclosed_for_one_set_of_drop_outs_only(tmp_path, stores, cards):
    """Two answers about one attempt could together unmask somebody; the same answer twice tells nothing new."""
    first = opened(masked(stores["anna"], cards).disclose(binding_of(), cards, ["dora"]))
    restarted = MaskStore(tmp_path / "anna", "anna", federation_key())
    for store in (stores["anna"], restarted):
        for missing in (["cleo"], ["cleo", "dora"]):
            with pytest.raises(CipherError, match=r"masks with \['dora'\] were disclosed for this attempt already"):
                store.disclose(binding_of(), cards, missing)
        assert opened(store.disclose(binding_of(), cards, ["dora"])) == first
    for binding, missing in ((binding_of(attempt=2), ["cleo"]), (binding_of(server_round=4), ["bert"])):
        sealed = masked(restarted, cards, binding).disclose(binding, cards, missing)
        assert opened(sealed, binding).keys() == set(missing)


@pytest.mark.parametrize("max_clients", [4, 64])
@pytest.mark.parametrize("missing", [[], ["bert"], ["anna", "dora"]])
def test_a_masked_round_is_exact_with_and_without_drop_outs(stores, cards, missing, max_clients):
    """The whole way: seeds, payloads, the server's sum, disclosures, and decryption; against a round without masks."""
    size, binding = 300, binding_of()
    state = {"exponents": np.zeros(1, np.int16)}
    ciphers = {
        name: PackedBfvCipher(federation_key(), np.zeros(size, bool), client=name, max_clients=max_clients, bits=9)
        for name in NAMES
    }
    updates = dict(zip(NAMES, np.random.default_rng(0).uniform(-2, 2, (4, size)).astype(np.float32), strict=True))
    means = []
    for with_masks in (True, False):
        total = PackedBfvSum(ciphers["anna"].parameters, binding, federation_key().key_id, masked=with_masks)
        present = [name for name in NAMES if name not in missing]
        for name in present:
            masks = stores[name].begin(binding, cards) if with_masks else {}
            payload = ciphers[name].encrypt(updates[name], 0.25, binding, state=state, carried={}, masks=masks).payload
            total.add(payload, name)
        if missing and with_masks:
            with pytest.raises(CipherError, match="are left in the sum"):
                total.payload()
            for name in present:
                total.disclose(name, stores[name].disclose(binding, cards, missing))
        found = ciphers["cleo"].decrypt(total.payload(), 0.25 * len(present), binding, state=state)
        means.append(found.mean)
        expected = np.mean([updates[name].astype(float) for name in present], axis=0)
        # A step, 1 / half of the scale 1, of rounding for each client, divided by the coefficients.
        step = 2 / ciphers["anna"].parameters.values.top
        assert (np.abs(found.mean - expected) <= len(present) * step / (0.25 * len(present)) + 1e-6).all()
    assert means[0].tobytes() == means[1].tobytes()


def test_a_damaged_key_file_is_named(tmp_path, stores):
    (tmp_path / "anna" / "mask.key").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"mask\.key"):
        MaskStore(tmp_path / "anna", "anna", federation_key())
    assert stores
