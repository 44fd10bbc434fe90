"""Cost of encryption: bytes, seconds, memory and error of one round, for each scheme.

Run: python -m scripts.bench.privacy [params=23508032] [clients=4] [schemes=plain,kahe,ckks,ckks_flare,...]

One JSON line a scheme. Seconds are processor seconds of one client's encryption, of adding one client's reply, and of
one decryption; "peak_mb" is the peak memory of the server's process above that before the first reply. Updates are
random, with a scale of its own in each block, as in the second round of a run: the scales are known from the first.
"sum_peak_mb" is that peak after the sum was written, "share_s" of `kahe` one client's answer to the question for its
shares.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.settings.load import SettingsError
from scripts.bench.memory import peak_bytes
from scripts.command import command, key_values, whole_number
from strategies.ciphers import ckks
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import ClientCipher, ServerSum
from strategies.ciphers.kahe.client_half import KaheCipher
from strategies.ciphers.kahe.client_half import new_secret as new_tag_secret
from strategies.ciphers.kahe.parameters import SCHEME as KAHE
from strategies.ciphers.kahe.parameters import KaheParameters
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.ciphers.keys import FederationKey, new_key
from strategies.ciphers.plain import PlainCipher, PlainSum
from strategies.quantise import BLOCK

SCHEMES = ("plain", "kahe", "ckks", "ckks_flare", "ckks_tutorial")
_PRESETS = {"ckks": "compact", "ckks_flare": "flare", "ckks_tutorial": "tutorial"}
_BITS = 12


def main(argv: Sequence[str]) -> None:
    """Print one JSON object a scheme."""
    given = key_values(argv, params="23508032", clients="4", schemes=",".join(SCHEMES))
    schemes = given["schemes"].split(",")
    if unknown := [scheme for scheme in schemes if scheme not in SCHEMES]:
        raise SettingsError(f"unknown scheme {unknown[0]!r}; known: {', '.join(SCHEMES)}")
    params, clients = (whole_number(key, given[key], 1, 2**31 - 1) for key in ("params", "clients"))
    for scheme in schemes:
        print(json.dumps(measure(Case(scheme, params, clients))), flush=True)


@dataclass(frozen=True)
class Case:
    """One scheme, a number of shared values, and of clients."""

    scheme: str
    size: int
    clients: int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"client-{index}" for index in range(self.clients))

    @property
    def binding(self) -> Binding:
        return Binding("0" * 16, "bench", 2, 1, self.names)

    def update(self, client: int) -> NDArray[np.float32]:
        """(size,): normal values, with a scale in each block that all clients share."""
        scales = 10 ** np.random.default_rng(0).uniform(-4, -2, -(-self.size // BLOCK))
        values = np.random.default_rng(client + 1).standard_normal(self.size, np.float32)
        values *= np.repeat(scales.astype(np.float32), BLOCK)[: self.size]
        return values

    def cipher(self, key: FederationKey, client: int) -> ClientCipher:
        nothing = np.zeros(self.size, bool)
        if self.scheme == "plain":
            return PlainCipher(self.size)
        name, bound = self.names[client], max(2, self.clients)
        if self.scheme == KAHE:
            return KaheCipher(key, nothing, client=name, max_clients=bound, bits=_BITS)
        preset = _PRESETS[self.scheme]
        return ckks.CkksCipher(key, nothing, client=name, max_clients=bound, preset=preset)

    def seeds(self, client: int) -> dict[str, bytes]:
        """The seeds that a client shares with each of the cohort; none for a cipher that needs none."""
        if self.scheme != KAHE:
            return {}
        return {
            name: hashlib.sha256(json.dumps(sorted([self.names[client], name])).encode()).digest()
            for name in self.names
        }

    def new_sum(self, key_id: str) -> ServerSum:
        if self.scheme == "plain":
            return PlainSum(self.size)
        blocks, bound = -(-self.size // BLOCK), max(2, self.clients)
        if self.scheme == KAHE:
            return KaheSum(KaheParameters(self.size, blocks, bound, _BITS), self.binding, key_id)
        preset = _PRESETS[self.scheme]
        chosen = ckks.Parameters(self.size, blocks, bound, preset)
        return ckks.CkksSum(chosen, self.binding, key_id, ckks.public_context(preset))


def measure(case: Case) -> dict[str, Any]:
    """Figures of one round; the server is a process of its own that gets one reply after the other."""
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as clients:
        key, state, encrypt_s, sizes = clients.submit(_encrypt_all, case, Path(folder)).result()
        with ProcessPoolExecutor(1, get_context("spawn")) as server:
            add_s, peak = server.submit(_add_all, case, key.key_id, Path(folder)).result()
            share_s = clients.submit(_answer_all, case, key, Path(folder)).result() if case.scheme == KAHE else 0.0
            sum_peak = server.submit(_close, case, Path(folder)).result()
        decrypt_s, error, down = clients.submit(_decrypt, case, key, state, Path(folder)).result()
    return {
        "scheme": case.scheme,
        "params": case.size,
        "clients": case.clients,
        "bytes_up_per_param": round(max(sizes) / case.size, 3),
        "bytes_down_per_param": round(down / case.size, 3),
        "encrypt_s": round(encrypt_s, 3),
        "add_s": round(add_s, 3),
        "decrypt_s": round(decrypt_s, 3),
        "share_s": round(share_s, 4),
        "peak_mb": round(peak / 1e6, 1),
        "sum_peak_mb": round(sum_peak / 1e6, 1),
        "mean_relative_error": float(f"{error:.3g}"),
    }


def _encrypt_all(case: Case, folder: Path) -> tuple[FederationKey, dict[str, Any], float, list[int]]:
    preset = _PRESETS.get(case.scheme)
    makers: dict[str, Callable[[], bytes]] = {}
    if case.scheme == KAHE:
        makers[KAHE] = new_tag_secret
    if preset is not None:
        makers[ckks.SCHEME] = lambda: ckks.new_secret(preset)
    key = new_key(makers)
    state = _state_after_a_round(case, case.cipher(key, 0))
    seconds, sizes = 0.0, []
    for client in range(case.clients):
        cipher, update = case.cipher(key, client), case.update(client)
        started = time.process_time()
        coefficient, seeds = 1 / case.clients, case.seeds(client)
        payload = cipher.encrypt(update, coefficient, case.binding, state=state, carried={}, seeds=seeds).payload
        seconds += time.process_time() - started
        (folder / str(client)).write_bytes(payload)
        sizes.append(len(payload))
    return key, state, seconds / case.clients, sizes


def _state_after_a_round(case: Case, cipher: ClientCipher) -> dict[str, Any]:
    """The scales that follow from a round of the same updates."""
    state = cipher.initial_state(case.update(0))
    if isinstance(cipher, PlainCipher):
        return state
    assert isinstance(cipher, KaheCipher | ckks.CkksCipher)
    coefficient = np.float32(1 / case.clients)
    flags = [cipher.blocks.flags(coefficient * case.update(k), state["exponents"]) for k in range(case.clients)]
    return {"exponents": cipher.blocks.next_exponents(np.sum(flags, axis=0, dtype=np.int64), state["exponents"])}


@cache
def _held() -> list[Any]:
    """Of the server's process: its sum, and the memory before the first reply."""
    return []


def _add_all(case: Case, key_id: str, folder: Path) -> tuple[float, int]:
    total, seconds = case.new_sum(key_id), 0.0
    before = peak_bytes()
    for client, name in enumerate(case.names):
        payload = (folder / str(client)).read_bytes()
        started = time.process_time()
        total.add(payload, name)
        seconds += time.process_time() - started
        del payload
    _held().extend((total, before))
    if isinstance(total, KaheSum):
        for client, name in enumerate(case.names):
            (folder / f"question-{client}").write_bytes(total.question(name))
    return seconds / case.clients, peak_bytes() - before


def _answer_all(case: Case, key: FederationKey, folder: Path) -> float:
    seconds = 0.0
    for client in range(case.clients):
        cipher, data = case.cipher(key, client), (folder / f"question-{client}").read_bytes()
        assert isinstance(cipher, KaheCipher)
        started = time.process_time()
        answer = cipher.share_sum(case.names, data, case.binding, case.seeds(client))
        seconds += time.process_time() - started
        (folder / f"answer-{client}").write_bytes(answer)
    return seconds / case.clients


def _close(case: Case, folder: Path) -> int:
    total, before = _held()
    if isinstance(total, KaheSum):
        for client, name in enumerate(case.names):
            total.disclose(name, (folder / f"answer-{client}").read_bytes())
    (folder / "sum").write_bytes(total.payload())
    return peak_bytes() - before


def _decrypt(case: Case, key: FederationKey, state: dict[str, Any], folder: Path) -> tuple[float, float, int]:
    payload, cipher = (folder / "sum").read_bytes(), case.cipher(key, 0)
    started = time.process_time()
    mean = cipher.decrypt(payload, 1.0, case.binding, state=state).mean
    seconds = time.process_time() - started
    exact = np.zeros(case.size)
    for client in range(case.clients):
        exact += case.update(client) / case.clients
    return seconds, float(np.linalg.norm(mean - exact) / np.linalg.norm(exact)), len(payload)


if __name__ == "__main__":
    command(main, sys.argv[1:])
