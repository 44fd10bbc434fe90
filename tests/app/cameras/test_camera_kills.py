"""Photographs that a camera leaves, through fifty kills of the watch: each with one sighting and one event."""

import subprocess
import sys
from pathlib import Path

import pytest
from event_receivers import desk, name_receivers, wait_until
from registers import photo

from app.cameras.settings import Cameras
from app.cameras.watch import Watch
from app.register.delivery import Delivery
from app.register.identification import Identification
from app.register.schema import Sighting

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
KILLS, PHOTOS = 50, 150
KILLED = """
import os, random, signal, sys, time
from functools import partial
from pathlib import Path
import torch
from app.cameras import folder as watched, watch as watches
from app.cameras.settings import Cameras
from app.cameras.watch import Watch
from app.register.delivery import Delivery
from app.register.identification import Identification

torch.set_num_threads(1)
watched._POLL = 0.05
watches.FolderCamera = partial(watched.FolderCamera, settled=0.05)
folder, inbox, kills, random_ = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), random.Random(0)
cameras = Cameras.model_validate({"folder": [{"name": "yard", "path": inbox}]})
for kill in range(kills):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            identification = Identification(folder, "", "cpu")
            delivery = Delivery(identification.outbox, folder, first_pause=0.05)
            watch = Watch(identification, cameras)
            os.write(into, b".")
            while True:
                time.sleep(1)
        finally:
            os._exit(1)
    os.close(into)
    assert os.read(out, 1) == b"."
    time.sleep(random_.uniform(0.3, 0.6))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    os.close(out)
"""


def test_no_photograph_is_lost_or_seen_twice_through_fifty_kills(tmp_path, run_folder, webhook):
    folder, inbox = tmp_path / "register", tmp_path / "inbox"
    made = Identification(folder, "", "cpu")
    made.active_model.change_to_run(run_folder, "global", "tester")
    made.close()
    name_receivers(folder, desk(webhook.url))
    inbox.mkdir()
    for number in range(PHOTOS):
        photo(number).image.save(inbox / f"{number:03}.png")
    command = [sys.executable, "-c", KILLED, str(folder), str(inbox), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    killed = len(webhook.ids())
    assert killed >= KILLS // 2  # the processes that were killed did most of it
    identification = Identification(folder, "", "cpu")
    delivery = Delivery(identification.outbox, folder)
    watch = Watch(identification, Cameras.model_validate({"folder": [{"name": "yard", "path": str(inbox)}]}))
    wait_until(lambda: watch.counts()["yard"]["photographs"] + watch.counts()["yard"]["again"] == PHOTOS, 120)
    watch.stop()
    wait_until(lambda: not identification.outbox.queues(), 60)
    delivery.stop()
    with identification.database.reading() as session:
        numbers = [row.id for row in session.query(Sighting).order_by(Sighting.id)]
    identification.close()
    first = {body["id"]: body["sighting"] for body in reversed(webhook.bodies)}
    assert [first[key] for key in webhook.ids()] == numbers
    assert len(numbers) == PHOTOS
    assert len(webhook.bodies) - PHOTOS <= KILLS  # the same id, at most once more a kill
