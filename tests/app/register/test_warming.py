"""The thread that finds densities beforehand: it works through what is left, rests while queries come, and ends."""

import math
import time

import pytest

from app.register import warming
from app.register.errors import RegisterError
from app.register.warming import Warming


class Counted:
    """An identification with so many densities to find."""

    def __init__(self, left, failing=0):
        self.left, self.failing = left, failing
        self.last_query = -math.inf
        self.calls = 0

    def warm(self):
        self.calls += 1
        if self.failing:
            self.failing -= 1
            raise RegisterError("the database is away")
        self.left -= self.left > 0
        return self.left > 0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(warming, "_REST", 0.001)
    monkeypatch.setattr(warming, "_IDLE", 0.002)


def waited(condition):
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.002)
    return condition()


@pytest.mark.parametrize("failing", [0, 3])
def test_it_works_through_what_is_left_and_ends(failing):
    counted = Counted(20, failing)
    thread = Warming(counted)
    assert waited(lambda: counted.left == 0)
    thread.stop()
    calls = counted.calls
    time.sleep(0.05)
    assert counted.calls == calls


def test_it_rests_while_queries_come():
    counted = Counted(10**6)
    counted.last_query = time.monotonic() + 60
    thread = Warming(counted)
    time.sleep(0.1)
    assert counted.calls == 0
    thread.stop()
