"""Records of a server's runs, and metrics of parties as they are answered, for tests."""

import os

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import metrics_at

from app.core.run_folder import RunFolder
from app.deployment.metrics import answer
from strategies.exchange import NO_REPLY

SETTINGS = {"name": "quickstart", "task": "dual_reid", "federation": {"rounds": 5}, "privacy": {"cipher": "kahe"}}


def row(total, **more):
    parts = {"data": 1.0, "forward": 2.0, "backward": 2.5, "step": 0.5, "encrypt": 0.25}
    return {**{f"seconds_{name}": value for name, value in parts.items()}, "seconds_total": total, **more}


def line(number, seconds, clients, left_out=(), **more):
    measures = {"loss_total": 1.0 / number, "global_mAP": 0.1 * number, "global_queries": 12.0}
    rows = [{"client": client, "reason": reason} for client, reason in left_out]
    about = {"server_round": number, "attempts": 1, "seconds": seconds, "bytes_up": 100, "bytes_down": 70}
    return {**about, "clients": clients, "left_out": rows, "measures": measures, **more}


LINES = [
    line(1, 10.0, {"north": row(8.0), "south": row(9.0)}),
    line(
        2, 12.0, {"north": row(11.0, seconds_measure=2.0)}, [("south", NO_REPLY), ("node 77", "refused: x")], attempts=2
    ),
]


def write_run(server, name="first", lines=LINES, progress=None, settings=SETTINGS):
    folder = RunFolder(server / "state" / name)
    folder.write_settings(settings)
    for each in lines:
        folder.append_metrics(each)
    folder.write_progress(progress or {"attempts": 3, "server_round": 2, "cohort": ["north", "south"]})
    return folder


def samples(text):
    """Each sample by name and values of labels, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Answered:
    """A party's metrics, answered on a port."""

    def __init__(self, folder):
        self.server = answer(folder, 0, os.getpid())

    def text(self):
        return metrics_at(self.server.port)

    def read(self):
        return samples(self.text())


@pytest.fixture
def answered():
    """Answers the metrics of folders until the test ends."""
    made = []

    def make(folder):
        made.append(Answered(folder))
        return made[-1]

    yield make
    for each in made:
        each.server.close()
