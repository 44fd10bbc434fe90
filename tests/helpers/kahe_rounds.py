"""Rounds of the cipher `kahe` for tests: clients with keys of their own, and a server that adds."""

import hashlib
import json
import math
from dataclasses import dataclass, field

import numpy as np

from strategies.ciphers.binding import Binding
from strategies.ciphers.kahe.client_half import KaheCipher, new_secret
from strategies.ciphers.kahe.parameters import SCHEME
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.ciphers.keys import new_key

KEY = new_key({SCHEME: new_secret})
RUN, LAYOUT = "0" * 16, "layout"


def seeds_of(name, names, binding):
    """Seeds that a client shares with each of the cohort, itself among them, as share keys would give them."""
    return {
        other: hashlib.sha256(json.dumps([sorted([name, other]), binding.fields()]).encode()).digest()
        for other in names
    }


@dataclass
class Round:
    """One attempt of `count` clients named client-00, client-01, ..."""

    count: int
    size: int = 300
    max_clients: int = 8
    bits: int = 11
    server_round: int = 3
    attempt: int = 1
    nonce: str = "nonce"
    members: str = ""
    layout: str = LAYOUT
    colluding: int | None = None
    statistics: np.ndarray | None = None
    ciphers: dict[str, KaheCipher] = field(init=False)

    def __post_init__(self):
        marked = np.zeros(self.size, bool) if self.statistics is None else self.statistics
        laid_out = {"max_clients": self.max_clients, "bits": self.bits, "colluding": self.colluding}
        self.ciphers = {name: KaheCipher(KEY, marked, client=name, **laid_out) for name in self.names}
        self.state = {"exponents": np.zeros(self[0].blocks.count, np.int16)}

    def __getitem__(self, index) -> KaheCipher:
        return self.ciphers[self.names[index]]

    @property
    def names(self):
        return [f"client-{index:02}" for index in range(self.count)]

    @property
    def binding(self):
        return Binding(RUN, self.layout, self.server_round, self.attempt, tuple(self.names), self.nonce, self.members)

    def seeds(self, name):
        """The seeds that a client shares with each of the cohort, itself among them."""
        return seeds_of(name, self.names, self.binding)

    def update(self, index):
        return np.random.default_rng(index).uniform(-1, 1, self.size).astype(np.float32)

    @property
    def share(self):
        return 1 / self.count

    def payload(self, index, update=None, coefficient=None):
        vector = self.update(index) if update is None else update
        seeds = self.seeds(self.names[index])
        share = self.share if coefficient is None else coefficient
        return self[index].encrypt(vector, share, self.binding, state=self.state, carried={}, seeds=seeds).payload

    def total(self):
        """An empty sum."""
        return KaheSum(self[0].parameters, self.binding, KEY.key_id)

    def added(self, *indices):
        """The sum of these clients, of all if none is named."""
        total = self.total()
        for index in indices or range(self.count):
            total.add(self.payload(index), self.names[index])
        return total

    def answer(self, total, index, clients=None, data=None):
        """The share sum of a client."""
        name = self.names[index]
        asked = total.question(name) if data is None else data
        return self[index].share_sum(clients or total.clients, asked, self.binding, self.seeds(name))

    def ask(self, total, *indices):
        """The sum after these clients, or all that are in it, have answered."""
        for index in indices or [self.names.index(name) for name in total.clients]:
            total.disclose(self.names[index], self.answer(total, index))
        return total

    def opened(self, payload, clients=None, index=0):
        """What a client makes of a sum of so many clients."""
        coefficients = math.fsum([self.share] * (clients or self.count))
        return self[index].decrypt(payload, coefficients, self.binding, state=self.state)
