"""One processor core for a measurement."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and its threads on one processor."""
    cores, threads, of_opencv = os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
        cv2.setNumThreads(of_opencv)
