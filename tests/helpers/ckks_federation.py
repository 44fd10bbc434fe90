"""Clients and a server of cipher `ckks`, for every preset and either holder of the key."""

from functools import cache

import numpy as np

from strategies.ciphers.binding import Binding
from strategies.ciphers.ckks import SCHEME, CkksCipher, CkksSum, new_secret, public_context, without_secret
from strategies.ciphers.keys import FederationKey
from strategies.quantise import Blocks

SIZE = 2500  # two ciphertexts at 2,048 values each
STATISTICS = np.arange(SIZE) >= 2450
NAMES = ("anna", "bert", "cleo", "dora", "emil")
BINDING = Binding("0" * 16, "layout", 3, 1, NAMES)
STATE = {"exponents": np.array([0, -3, 1, 2], np.int16)}


@cache
def secret_of(preset, public=None):
    return new_secret(preset, public=public)


@cache
def empty_context(preset):
    return public_context(preset)


def key_of(secret):
    return FederationKey({SCHEME: secret, "seal": bytes(32)}, "")


def cipher_of(client, *, preset="compact", key_holder="client", max_clients=4, key=None):
    if key is None:
        key = key_of(secret_of(preset) if key_holder == "client" else without_secret(secret_of(preset, public=True)))
    return CkksCipher(key, STATISTICS, client=client, max_clients=max_clients, preset=preset, key_holder=key_holder)


def sum_for(cipher, binding=BINDING):
    parameters = cipher.parameters
    cloud = parameters.key_holder == "cloud"
    context = secret_of(parameters.preset, public=True) if cloud else empty_context(parameters.preset)
    return CkksSum(parameters, binding, cipher.key_id, context)


def encrypted(cipher, vector, coefficient=0.25, binding=BINDING):
    return cipher.encrypt(vector, coefficient, binding, state=STATE, carried={}).payload


def updates_of(count, seed=0):
    """Within their blocks' scales: nothing is cut off."""
    scale = np.repeat(2.0 ** STATE["exponents"].astype(float), Blocks(STATISTICS).lengths)
    return (np.random.default_rng(seed).uniform(-1, 1, (count, SIZE)) * scale).astype(np.float32), scale
