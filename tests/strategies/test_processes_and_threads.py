"""Ciphers in forks and threads of one process: nobody reads what another wrote."""

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ckks_federation import BINDING, SIZE, STATE, cipher_of, encrypted, sum_for
from kahe_rounds import Round

from strategies.ciphers.binding import open_envelope

FORKS, ROUNDS = 8, 3


def in_forks(work, count):
    """Exit statuses of `count` forks of this process that run `work(number)` at once; 0 where it returned 0."""
    children = []
    for number in range(count):
        with warnings.catch_warnings():  # later versions of Python warn where libraries run threads
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 99
            try:
                status = min(work(number), 98)
            finally:
                os._exit(status)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def in_threads(work, count):
    """What `count` threads that run `work(number)` at once return."""
    together = threading.Barrier(count)

    def begin(number):
        together.wait(10)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


@pytest.mark.parametrize("run", [in_forks, in_threads])
def test_each_sum_of_many_forks_and_threads_opens_to_what_went_in(run):
    """Ciphers and keys are those of the parent, as if a client is built once and used by every process."""
    rounds = [Round(3, size=14_000, attempt=number) for number in range(ROUNDS)]

    def wrong(number):
        count = 0
        for attempt in rounds:
            updates = np.random.default_rng(number).uniform(-0.1, 0.1, (3, attempt.size)).astype(np.float32)
            total = attempt.total()
            for index, update in enumerate(updates):
                total.add(attempt.payload(index, update), attempt.names[index])
            found = attempt.opened(attempt.ask(total).payload()).mean
            step = 2 / attempt[0].parameters.plan.values.top
            count += not np.allclose(found, updates.mean(axis=0), rtol=0, atol=3 * step)
        return count

    assert run(wrong, FORKS) == [0] * FORKS


def test_forks_draw_keys_of_their_own():
    """Two ciphertexts under one key would show the difference of their contents to the server."""
    attempt = Round(3)
    attempt.payload(0)
    reading, writing = os.pipe()

    def send(_):
        os.write(writing, open_envelope(attempt.payload(0), {})[1][:64])
        return 0

    assert in_forks(send, FORKS) == [0] * FORKS
    parts = os.read(reading, 64 * FORKS)
    os.close(reading), os.close(writing)
    assert len({parts[start : start + 64] for start in range(0, len(parts), 64)}) == FORKS


@pytest.mark.parametrize("run", [in_forks, in_threads])
def test_approximate_sums_of_many_forks_and_threads_are_right(run):
    """CKKS contexts live in TenSEAL, with threads of its own that a fork does not inherit."""
    ciphers = {name: cipher_of(name) for name in ("anna", "bert")}
    encrypted(ciphers["anna"], np.zeros(SIZE, np.float32))

    def wrong(number):
        scale = np.where(np.arange(SIZE) < 1024, 1.0, 0.1).astype(np.float32)
        vectors = np.random.default_rng(number).uniform(-0.1, 0.1, (10, 2, SIZE)).astype(np.float32) * scale
        count = 0
        for anna, bert in vectors:
            total = sum_for(ciphers["anna"])
            total.add(encrypted(ciphers["anna"], anna, 0.5), "anna")
            total.add(encrypted(ciphers["bert"], bert, 0.5), "bert")
            found = ciphers["bert"].decrypt(total.payload(), 1.0, BINDING, state=STATE).mean
            count += not np.allclose(found, (anna + bert) / 2, rtol=0, atol=1e-4)
        return count

    assert run(wrong, 4) == [0] * 4
