"""Acknowledged enrolments outlive the death of their process, two hundred times."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from PIL import Image
from app.register.database import Database
from app.register.model_versions import Models
from app.register.photos import Photo, Photos
from app.register.records import NewOwner, NewView
from app.register.vehicles import Register

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
url = f"sqlite:///{folder / 'register.sqlite'}"
row = np.ones(4, np.float32) / 2
picture = Photo(Image.new("RGB", (32, 32)), 1.0)

def enrol(pipe, first):
    database = Database(url)
    register = Register(database, Photos(folder / "pictures"))
    model = Models(database).active()
    for number in range(first, first + 10_000):
        names = [register.photos.keep(picture) for _ in range(2)]
        views = [NewView(name, {"vehicle": row}) for name in names]
        who = {"owner": NewOwner(f"owner {number}"), "plate": f"P{number}"}
        vehicle = register.enrol(views, model_id=model.id, account="t", **who)
        os.write(pipe, f"{number} {vehicle}\\n".encode())

database = Database(url)
Models(database).add("0" * 16, ["vehicle"], "", "t")
database.close()
acknowledged, random_ = {}, random.Random(0)
for kill in range(kills):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enrol(into, kill * 10_000)
        finally:
            os._exit(1)
    os.close(into)
    said = os.read(out, 64)  # at least one
    time.sleep(random_.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    while piece := os.read(out, 65536):
        said += piece
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, said
    os.close(out)
    acknowledged |= dict(map(int, line.split()) for line in said.decode().splitlines())

database = Database(url)
register = Register(database, Photos(folder / "pictures"))
there = {vehicle.id: vehicle for vehicle in register.vehicles()}
for number, vehicle in acknowledged.items():
    held = there[vehicle]
    assert held.plate.normal == f"P{number}", (number, vehicle)
    assert len(held.views) == 2
    assert all(register.photos.path(view.picture).stat().st_size for view in held.views)
unacknowledged = len(there) - len(acknowledged)
assert 0 <= unacknowledged <= kills, unacknowledged  # one may have been kept just before the kill
for vehicle in there.values():  # and whatever is there is whole
    assert len(vehicle.views) == 2 and vehicle.plate and vehicle.owner_id
with database.reading() as session:
    assert session.connection().exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
print(len(acknowledged))
"""


def test_acknowledged_enrolments_outlive_two_hundred_kills(tmp_path):
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), "200"], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= 200
