"""A node that was restored from a backup, and a server that asks it once more for what it answered since."""

import json
import math
import shutil
import time
from functools import partial

import numpy as np
import pytest
from kahe_rounds import KEY, LAYOUT, RUN

from app.federation import restored
from app.federation.share_store import ShareStore
from strategies.ciphers.binding import Binding, begun_at, new_nonce
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.client_half import KaheCipher
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.share_keys import new_share_keys
from strategies.signing import new_signing_key

NAMES = ("anna", "bert", "cleo")
SIZE = 300
BEGAN = 1_800_000_000
AUTHORITY = new_signing_key()


class Site:
    """A node's folder with a clock, its cipher, and an update."""

    def __init__(self, folder, name):
        self.folder, self.name, self.now = folder, name, float(BEGAN)
        self.keys = new_share_keys("parks", name, KEY.key_id, AUTHORITY, now=time.time())
        self.cipher = KaheCipher(KEY, np.zeros(SIZE, bool), client=name, max_clients=8, bits=11, colluding=0)
        self.state = {"exponents": np.zeros(self.cipher.blocks.count, np.int16)}
        self.update = np.random.default_rng(len(name) + ord(name[0])).uniform(-1, 1, SIZE).astype(np.float32)

    @property
    def store(self):
        return ShareStore(self.folder, self.keys, lambda: self.now)

    def payload(self, binding, told):
        bound, seeds = self.store.begin(binding, told)
        sent = self.cipher.encrypt(self.update, 1 / 3, bound, state=self.state, carried={}, seeds=seeds)
        return bound, sent.payload

    def answer(self, binding, told, total):
        question = total.question(self.name)
        return self.store.answer(
            binding, told, total.clients, question, partial(self.cipher.share_sum, total.clients, question)
        )


@pytest.fixture
def sites(tmp_path):
    return {name: Site(tmp_path / name, name) for name in NAMES}


@pytest.fixture
def told(sites):
    return [site.keys.text for site in sites.values()]


def binding_at(second, **changes):
    return Binding(RUN, LAYOUT, 3, 1, NAMES, **{"nonce": f"{second}-{'0' * 16}", **changes})


def sum_of(sites, payloads, binding):
    total = KaheSum(sites["anna"].cipher.parameters, binding, KEY.key_id)
    for name, data in payloads.items():
        total.add(data, name)
    return total


def opened(site, total, binding):
    count = len(total.clients)
    found = site.cipher.decrypt(total.payload(), math.fsum([1 / 3] * count), binding, state=site.state)
    return found.mean * count / 3


def attack(sites, told, restoring):
    """Anna answers for all three; after `restoring`, which takes its folder back, the recorded training
    message comes again, and Anna and Bert, who was not asked yet, are asked for the two of them. Cleo's update is the
    difference. Sums are sealed under the federation key, which Cleo or a thief holds."""
    binding = binding_at(BEGAN + 5)
    payloads = {}
    for name, site in sites.items():
        bound, payloads[name] = site.payload(binding, told)
    whole = sum_of(sites, payloads, bound)
    for name in ("anna", "cleo"):
        whole.disclose(name, sites[name].answer(binding, told, whole))

    sites["anna"].now += 3600
    restoring(sites["anna"])
    _, again = sites["anna"].payload(binding, told)
    two = sum_of(sites, {"anna": again, "bert": payloads["bert"]}, bound)
    for name in ("anna", "bert"):
        two.disclose(name, sites[name].answer(binding, told, two))
    return opened(sites["anna"], whole, bound) - opened(sites["anna"], two, bound)


def lost(site):
    """The records since the backup."""
    shutil.rmtree(site.folder)
    site.folder.mkdir()


def test_two_sums_of_one_attempt_open_an_update_and_a_restored_site_answers_one(sites, told):
    """First as without the record of a restoration: Cleo's update comes out. Then with it."""
    found = attack(sites, told, lost)
    np.testing.assert_allclose(found, sites["cleo"].update / 3, atol=0.02)  # a step of the quantisation, three times

    for site in sites.values():
        shutil.rmtree(site.folder)
        site.now = float(BEGAN)

    def restoring(site):
        lost(site)
        restored.mark(site.folder, site.now)

    with pytest.raises(
        CipherError, match=r"anna was restored from a backup, and deals no shares for an attempt from b"
    ):
        attack(sites, told, restoring)
    assert not (sites["anna"].folder / "share_attempts.json").exists()


@pytest.mark.parametrize(
    ("begun", "is_new"),
    [(-3600, False), (0, False), (300, False), (301, True), (600, True), (901, False)],
)
def test_a_restored_site_deals_shares_for_what_begins_afterwards(sites, told, begun, is_new):
    """It was restored at BEGAN, by a clock that may have been 300 s behind the server's; now it is 600 s later. What is
    more than 300 s ahead is refused, or it could come again after the next restoration."""
    anna = sites["anna"]
    anna.folder.mkdir()
    restored.mark(anna.folder, BEGAN)
    anna.now = BEGAN + 600
    binding = binding_at(BEGAN + begun)
    if is_new:
        assert anna.store.begin(binding, told)
    else:
        with pytest.raises(CipherError, match="deals no shares for an attempt"):
            anna.store.begin(binding, told)


def test_a_nonce_without_a_time_is_taken_as_from_before(sites, told):
    for nonce in ("0123456789abcdef", "", "12-xyz", f"-1-{'0' * 16}", f"{'9' * 40}-{'0' * 16}", f"1-{'0' * 16}\n"):
        binding = binding_at(0, nonce=nonce)
        assert begun_at(nonce) is None
        assert sites["anna"].store.begin(binding, told), "a site that was not restored takes part"
        sites["bert"].folder.mkdir(exist_ok=True)
        restored.mark(sites["bert"].folder, BEGAN)
        with pytest.raises(CipherError, match="bert was restored"):
            sites["bert"].store.begin(binding, told)


def test_the_server_s_nonce_is_of_its_second_and_never_the_same(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.9)
    nonces = {new_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert {begun_at(nonce) for nonce in nonces} == {1_800_000_000}


NONSENSE = ['"x"', '"0"', f'"{BEGAN}"', "true", "false", "null", "0", "-5", "1e18", "1e999", "NaN", "-Infinity", "{}",
            "9" * 400, str(BEGAN * 1000), f"[{BEGAN}]"]  # fmt: skip


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "true", "\xff", "[" * 9999, *(f'{{"restored": {each}}}' for each in NONSENSE)]
)
def test_a_damaged_record_is_named_and_nothing_is_dealt(sites, told, content):
    anna = sites["anna"]
    anna.folder.mkdir()
    (anna.folder / restored.FILE).write_text(content, encoding="latin-1")
    for act in (
        lambda: anna.store.begin(binding_at(BEGAN), told),
        lambda: restored.seconds_to_wait(anna.folder, BEGAN),
    ):
        with pytest.raises(restored.RestoredError, match=r"restored\.json is damaged, and no share .* `rotate`"):
            act()
    (anna.folder / restored.FILE).unlink()
    (anna.folder / restored.FILE).mkdir()
    with pytest.raises(restored.RestoredError, match="is damaged"):
        anna.store.begin(binding_at(BEGAN), told)


def test_the_later_of_two_restorations_is_kept(tmp_path):
    """A backup of a restored site, restored by a clock that is behind; a damaged record is replaced."""

    def kept():
        return json.loads((tmp_path / restored.FILE).read_text())["restored"]

    for now, expected in ((BEGAN, BEGAN), (BEGAN - 900, BEGAN), (BEGAN + 0.5, BEGAN + 0.5), (BEGAN, BEGAN + 0.5)):
        restored.mark(tmp_path, now)
        assert kept() == expected
    for damage in ("{", '{"restored": 1e18}', '{"restored": true}'):
        (tmp_path / restored.FILE).write_text(damage)
        restored.mark(tmp_path, BEGAN)
        assert kept() == BEGAN
    for now in (0, 1000.0, 5e9, math.nan):
        with pytest.raises(restored.RestoredError, match="which cannot be: set it by NTP"):
            restored.mark(tmp_path, now)
        assert kept() == BEGAN


def test_a_site_waits_until_it_would_take_part(tmp_path):
    """The server's clock may be 5 s behind; an attempt that begins when the wait is over is new."""
    assert restored.seconds_to_wait(tmp_path, BEGAN) == 0
    restored.mark(tmp_path, BEGAN + 0.5)
    for now in (BEGAN - 200, BEGAN + 1, BEGAN + 100):
        over = now + restored.seconds_to_wait(tmp_path, now)
        restored.require_new(tmp_path, "anna", f"{int(over - 5)}-{'0' * 16}", over)
        assert over - BEGAN < 310
    assert restored.seconds_to_wait(tmp_path, BEGAN + 400) == 0
    with pytest.raises(restored.RestoredError, match=r"was restored at 2027-01-15T08:00:00Z, and .* set it; if it was"):
        restored.seconds_to_wait(tmp_path, BEGAN - 301)
    assert json.loads((tmp_path / restored.FILE).read_text()) == {"restored": BEGAN + 0.5}
    assert (tmp_path / restored.FILE).stat().st_mode & 0o777 == 0o600
