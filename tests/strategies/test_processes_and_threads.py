"""Ciphers in forks and threads of one process: nobody reads what another wrote."""

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ckks_federation import BINDING, SIZE, STATE, cipher_of, encrypted, sum_for
from encrypted_payloads import federation_key

from strategies.ciphers.memory_file import MemoryFile
from strategies.ciphers.packed_bfv import SCHEME
from strategies.ciphers.seal_bfv import DEGREE, BfvKey, bfv

BITS = 44
FORKS, CIPHERTEXTS = 8, 80
DESCRIPTORS = Path("/proc/self/fd")


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
def test_a_file_is_that_of_its_process_and_thread(run):
    """Another one writes between our writing and our reading, every time."""
    file = MemoryFile(b"begin")
    file.put(b"ours!", 0)

    def write(_):
        begun = file.get()
        file.put(b"other", 0)
        return int((begun, Path(file.path).read_bytes()) != (b"begin", b"other"))

    assert run(write, 2) == [0, 0]
    assert file.get() == b"ours!"


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="descriptors are listed on Linux")
def test_descriptors_of_threads_that_ended_are_closed():
    file = MemoryFile()
    file.put(b"ours!", 0)
    before = len(list(DESCRIPTORS.iterdir()))
    in_threads(lambda number: file.put(b"%d" % number, 0), 8)
    assert len(list(DESCRIPTORS.iterdir())) <= before + 1
    assert file.get() == b"ours!"


@pytest.mark.parametrize("run", [in_forks, in_threads])
def test_each_ciphertext_of_many_forks_and_threads_opens_to_what_went_in(run):
    """Key and parameters are those of the parent, as if a client is built once and used by every process."""
    key = BfvKey(bfv(BITS), federation_key().secret(SCHEME))
    key.encrypt(np.zeros(DEGREE, np.int64))  # its files are there before the fork

    def wrong(number):
        slots = np.random.default_rng(number).integers(0, 2**BITS, CIPHERTEXTS * DEGREE)
        c0, seeds = key.encrypt(slots)
        opened = key.decrypt(c0, [seeds]).reshape(-1, DEGREE)
        whole = key.decrypt_whole(c0, np.stack([bfv(BITS).expand(seed.tobytes()) for seed in seeds]))
        same = (opened == slots.reshape(-1, DEGREE)).all(axis=1) & (whole.reshape(-1, DEGREE) == opened).all(axis=1)
        return int((~same).sum()) + CIPHERTEXTS - len(np.unique(seeds, axis=0))

    assert run(wrong, FORKS) == [0] * FORKS


def test_forks_draw_seeds_of_their_own():
    """Two ciphertexts with one seed would show the difference of their contents to the server."""
    key = BfvKey(bfv(BITS), federation_key().secret(SCHEME))
    key.encrypt(np.zeros(DEGREE, np.int64))
    reading, writing = os.pipe()

    def send(_):
        os.write(writing, key.encrypt(np.zeros(DEGREE, np.int64))[1].tobytes())
        return 0

    assert in_forks(send, FORKS) == [0] * FORKS
    seeds = os.read(reading, 64 * FORKS)
    os.close(reading), os.close(writing)
    assert len({seeds[start : start + 64] for start in range(0, len(seeds), 64)}) == FORKS


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
