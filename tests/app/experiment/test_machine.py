"""Numbers of clients that train at a time, by hand from the free memory."""

import pytest

from app.experiment import machine
from app.settings.load import load_settings

GIB = 2**30


@pytest.fixture
def shared(monkeypatch, base_overrides):
    """`cpus_to_use` with 64 processors and so much free memory. A client takes 1 GiB, 20 MB for eight images of 32 px
    and 4 MB for the network: 1.023 GiB."""

    def found(free, more=""):
        monkeypatch.setattr(machine.limits, "usable_cpus", lambda: 64)
        monkeypatch.setattr(machine.limits, "free_memory", lambda: free * GIB)
        return machine.cpus_to_use(load_settings(f"{base_overrides} federation.num_clients=40 {more}"))

    return found


@pytest.mark.parametrize(
    ("free", "more", "cpus"),
    [
        (10, "", 7),  # 2 GiB stay for the server
        (10, "simulation.cpus_per_client=4", 28),
        (10, "train.batch_size=512", 3),  # 1.3 GB of images
        (1, "", 1),  # one client is always tried
        (43, "", 64),  # room for 40, and there are no more clients
        (42, "", 39),
        (1, "simulation.cpus=8", 8),  # the user's word
    ],
)
def test_no_more_clients_train_at_a_time_than_memory_holds(shared, free, more, cpus):
    found, why = shared(free, more)
    assert found == cpus
    assert bool(why) == (cpus < 64 and "cpus=8" not in more)


def test_what_limits_is_said_with_the_remedy(shared):
    _, why = shared(10, "simulation.cpus_per_client=4")
    assert why == (
        "7 of 16 clients at a time, as 10 GiB of memory are free and one takes about 1.0; simulation.cpus=N sets how "
        "many processors are used"
    )
