"""A node that opens encrypted sums, with sums that are honest and sums that a server forged."""

import json
from dataclasses import replace

import numpy as np
from encrypted_payloads import federation_key, with_body
from kahe_rounds import seeds_of

from app.core.node_store import NodeStore
from app.federation.global_model import GlobalModels, UnusableAggregateError
from app.federation.opened_sums import OpenedSums
from strategies.ciphers.binding import Binding, open_envelope
from strategies.ciphers.ckks import CkksCipher, CkksSum, _joined, _load_context, _vectors, public_context
from strategies.ciphers.kahe.client_half import KaheCipher
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.server_optimiser import Average
from strategies.shared_arrays import SharedLayout

SIZE = 300
LAYOUT = SharedLayout.of({"weight": (SIZE,)}, ["nothing"])
STATISTICS = np.zeros(SIZE, bool)
NAMES = ("anna", "bert")
RUN = "0" * 16
CIPHERS = {
    "kahe": lambda name: KaheCipher(federation_key(), STATISTICS, client=name, max_clients=4, bits=12),
    "kahe, many": lambda name: KaheCipher(federation_key(), STATISTICS, client=name, max_clients=64, bits=9),
    "ckks": lambda name: CkksCipher(federation_key(), STATISTICS, client=name, max_clients=4),
}


class Node:
    """Models of a node in a folder, from processes that come and go; `opened` counts decryptions."""

    def __init__(self, folder, kind="kahe", name="anna"):
        self.folder, self.kind, self.name, self.opened, self.least = folder, kind, name, 0, 2

    def models(self, run_key=RUN):
        """As a new process makes them."""
        cipher = CIPHERS[self.kind](self.name)
        cipher.decrypt = self.counted(cipher.decrypt)
        return GlobalModels(
            self.name,
            NodeStore(self.folder / run_key),
            layout=LAYOUT,
            statistics=STATISTICS,
            variances=np.zeros(SIZE, bool),
            initial=lambda: np.zeros(SIZE, np.float32),
            server_optimiser=Average(1.0),
            cipher=cipher,
            run_key=run_key,
            sums=OpenedSums(self.folder, cipher.key_id, run_key),
            least=self.least,
        )

    def counted(self, decrypt):
        def count(*positional, **named):
            self.opened += 1
            return decrypt(*positional, **named)

        return count

    def answer(self, payload, version=1, run_key=RUN, coefficient_sum=1.0):
        """ "used", or the error sent to the server."""
        try:
            self.models(run_key).reach(version, payload, coefficient_sum)
        except UnusableAggregateError as error:
            return str(error)
        return "used"

    def record(self):
        return json.loads((self.folder / "opened_sums.json").read_text(encoding="utf-8"))[federation_key().key_id]


def honest(kind="kahe", version=1, run_key=RUN, names=NAMES, size=0.02, state=None):
    """A sum of updates that all hold `size`."""
    binding = Binding(run_key, LAYOUT.digest, version, 1, NAMES)
    ciphers = [CIPHERS[kind](name) for name in names]
    if kind == "ckks":
        total = CkksSum(ciphers[0].parameters, binding, federation_key().key_id, public_context())
    else:
        total = KaheSum(ciphers[0].parameters, binding, federation_key().key_id)
    state = state or ciphers[0].initial_state(np.zeros(SIZE, np.float32))
    for cipher in ciphers:
        vector = np.full(SIZE, size, np.float32)
        seeds = {} if kind == "ckks" else seeds_of(cipher.client, NAMES, binding)
        payload = cipher.encrypt(vector, 1 / len(NAMES), binding, state=state, carried={}, seeds=seeds).payload
        total.add(payload, cipher.client)
    if isinstance(total, KaheSum):
        for cipher in ciphers:
            question, seeds = total.question(cipher.client), seeds_of(cipher.client, NAMES, binding)
            total.disclose(cipher.client, cipher.share_sum(names, question, binding, seeds))
    return total.payload()


def forged(number, kind="kahe", **options):
    """A sum that is whole but for its ciphertexts, as a server without a key makes it: each another question."""
    payload = honest(kind, **options)
    return nudged(payload, number) if kind == "ckks" else with_body(payload, lambda body: random_body(body, number))


def random_body(body, number):
    """Random coefficients below q in place of the first ones."""
    return np.random.default_rng(number).bytes(2000) + body[2000:]


def nudged(payload, number):
    """A sum of `ckks` with a number added to each value of its last ciphertext, flags included: by public parameters
    alone, and in SEAL's form."""
    parameters, context = CIPHERS["ckks"]("anna").parameters, _load_context(public_context(), "compact")
    fields = open_envelope(payload, {})[0]
    parameters = replace(parameters, size=fields["size"], blocks=fields["blocks"], max_clients=fields["max_clients"])

    def change(body):
        vectors = list(_vectors(context, memoryview(body), parameters))
        vectors[-1] += [0.5 + number / 100] * vectors[-1].size()
        return b"".join(_joined(vector.serialize() for vector in vectors))

    return with_body(payload, change)
