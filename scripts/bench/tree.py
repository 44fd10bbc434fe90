"""Sums by a tree of aggregators, and the cost of an encrypted cohort by its size.

Run: python -m scripts.bench.tree [sites=10000] [branches=100] [params=100000] [cohorts=4,16,64,256]

An aggregator adds the updates of its `branches` sites and sends one sum up; the root adds these. Prints a JSON object
that compares this with one server for all sites (seconds at the root, bytes that arrive there, difference of the two
sums), and one for each cohort of cipher `kahe`: a client's update in seconds and bytes, and the server's adding of it.
"""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.command import command, key_values, whole_number
from strategies.ciphers.binding import Binding
from strategies.ciphers.kahe.client_half import KaheCipher, new_secret
from strategies.ciphers.kahe.parameters import SCHEME
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.ciphers.keys import new_key
from strategies.ciphers.limits import MAX_CLIENTS
from strategies.ciphers.plain import PlainCipher, PlainSum

_BINDING = Binding("bench", "bench", 1)


def main(argv: Sequence[str]) -> None:
    """Print the JSON objects."""
    given = key_values(argv, sites="10000", branches="100", params="100000", cohorts="4,16,64,256")
    sites = whole_number("sites", given["sites"], 2, 1_000_000)
    branches = whole_number("branches", given["branches"], 2, 100_000)
    params = whole_number("params", given["params"], 1, 2**31 - 1)
    print(json.dumps(compare(sites, branches, params)), flush=True)
    for cohort in [whole_number("cohorts", each, 2, MAX_CLIENTS) for each in given["cohorts"].split(",")]:
        print(json.dumps(encrypted(cohort, params)), flush=True)


def compare(sites: int, branches: int, params: int) -> dict[str, Any]:
    """One server for all sites, and a tree of two levels, in the clear."""
    flat, root, group = _TimedSum(params), _TimedSum(params), _TimedSum(params)
    arrived = 0
    for site in range(sites):
        payload = _update(site, params, 1 / sites)
        flat.add(payload)
        group.add(payload)
        if (site + 1) % branches == 0 or site + 1 == sites:
            sum_of_group = group.sum.payload()
            arrived += len(sum_of_group)
            root.add(sum_of_group)
            slowest, group = group.seconds, _TimedSum(params)
    decrypted = [
        PlainCipher(params).decrypt(total.sum.payload(), 1.0, _BINDING, state={}).mean.astype(np.float64)
        for total in (flat, root)
    ]
    return {
        "bench": "tree",
        "sites": sites,
        "aggregators": -(-sites // branches),
        "params": params,
        "seconds_one_server": round(flat.seconds, 2),
        "seconds_root": round(root.seconds, 3),
        "seconds_aggregator": round(slowest, 3),
        "mb_one_server": round(sites * len(payload) / 1e6, 1),
        "mb_root": round(arrived / 1e6, 1),
        "relative_difference": float(np.linalg.norm(decrypted[0] - decrypted[1]) / np.linalg.norm(decrypted[0])),
    }


class _TimedSum:
    def __init__(self, params: int) -> None:
        self.sum, self.seconds = PlainSum(params), 0.0

    def add(self, payload: bytes) -> None:
        started = time.perf_counter()
        self.sum.add(payload, "")
        self.seconds += time.perf_counter() - started


def _update(site: int, params: int, coefficient: float) -> bytes:
    vector = np.random.default_rng(site).standard_normal(params, np.float32)
    return PlainCipher(params).encrypt(vector, coefficient, _BINDING, state={}, carried={}).payload


def encrypted(cohort: int, params: int) -> dict[str, Any]:
    """A client's update under `kahe` in a cohort of this size, and the server's part of it."""
    names = tuple(f"client-{number:04d}" for number in range(cohort))
    binding = Binding("0" * 16, "bench", 1, 1, names, "bench")
    key = new_key({SCHEME: new_secret})
    cipher = KaheCipher(key, np.zeros(params, bool), client=names[0], max_clients=cohort, bits=11)
    vector = np.random.default_rng(0).uniform(-1, 1, params).astype(np.float32)
    state = cipher.initial_state(vector)
    seeds = {name: hashlib.sha256(name.encode()).digest() for name in names}
    started = time.perf_counter()
    payload = cipher.encrypt(vector, 1 / cohort, binding, state=state, carried={}, seeds=seeds).payload
    encrypting = time.perf_counter() - started
    total = KaheSum(cipher.parameters, binding, key.key_id)
    started = time.perf_counter()
    total.add(payload, names[0])
    return {
        "bench": "cohort",
        "clients": cohort,
        "params": params,
        "seconds_encrypt": round(encrypting, 2),
        "milliseconds_add": round(1000 * (time.perf_counter() - started), 1),
        "kb_update": round(len(payload) / 1e3),
        "kb_shares": round((len(payload) - cipher.parameters.body_bytes) / 1e3),
        "bytes_a_value_besides_shares": round(cipher.parameters.body_bytes / params, 2),
    }


if __name__ == "__main__":
    command(main, sys.argv[1:])
