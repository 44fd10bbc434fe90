"""Search among many vehicles by plate, owner, flat and number: time of each, and of the first one.

Run: python -m scripts.bench.search [vehicles=100000] [url=postgresql+psycopg://...]
Plates and names are random, each vehicle has an owner, and no images. The register is a temporary SQLite file unless an
empty database is named. `first_ms` is the first search, which reads all texts; `follow_ms` the first one after an
enrolment; the others are medians and the slowest of all, paging and the lines of the trail included; `cpu_ms` is the
slowest mean in time of a processor, which other work does not change. The last line on standard output is one JSON
object.
"""

import json
import random
import string
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from sqlalchemy import insert

from app.register.database import Database
from app.register.plate_search import normal_plate
from app.register.schema import Change, Owner, Plate, Vehicle, View
from app.register.search import Search
from scripts.command import command, key_values, whole_number

_CHUNK = 10_000
_TRIES = 15
_FIRST = ("Anna", "Bo", "Chen", "Dilek", "Emil", "Fatou", "Goran", "Hana", "Igor", "Jun")


def fill(database: Database, vehicles: int) -> list[str]:
    """Enrol vehicles with random plates and owners; the plates."""
    rng = random.Random(0)
    plates = [f"{rng.choice(string.ascii_uppercase)}{rng.choice('AB')} {number:06d}" for number in range(vehicles)]
    names = ["".join(rng.choices(string.ascii_lowercase, k=8)).title() for _ in range(vehicles)]
    for start in range(0, vehicles, _CHUNK):
        numbers = range(start + 1, min(start + _CHUNK, vehicles) + 1)
        with database.writing() as session:
            owners = [{"id": n, "name": f"{rng.choice(_FIRST)} {names[n - 1]}", "flat": str(n % 3000)} for n in numbers]
            session.execute(insert(Owner), owners)
            session.execute(insert(Vehicle), [{"id": n, "owner_id": n} for n in numbers])
            texts = [(n, plates[n - 1]) for n in numbers]
            session.execute(
                insert(Plate), [{"vehicle_id": n, "text": text, "normal": normal_plate(text)} for n, text in texts]
            )
            session.execute(insert(View), [{"vehicle_id": n, "picture": f"{n:032x}.jpg"} for n in numbers])
            session.execute(insert(Change), [{"vehicle_id": numbers[-1]}])
    return plates


def main(argv: Sequence[str]) -> None:
    """Print the figures."""
    options = key_values(argv, vehicles="100000", url="")
    vehicles = whole_number("vehicles", options["vehicles"], 1, 10_000_000)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(options["url"] or f"sqlite:///{Path(folder) / 'register.sqlite'}")
        plate = fill(database, vehicles)[vehicles // 2]
        search = Search(database)
        first = _milliseconds(search, plate)
        with database.writing() as session:
            session.add(Change(vehicle_id=1))
        follow = _milliseconds(search, plate)
        other = plate[:-1] + ("0" if plate[-1] != "0" else "9")
        asked = {"plate": plate, "part": plate[3:7], "many": "A ", "wildcards": f"*{plate[4:6]}?{plate[7]}"}
        asked |= {"similar": other, "owner": "anna", "words": "a an", "flat": "flat 12", "number": str(vehicles)}
        times, cpu = dict[str, list[float]](), 0.0
        for name, text in asked.items():
            before = time.process_time()
            times[name] = [_milliseconds(search, text) for _ in range(_TRIES)]
            cpu = max(cpu, 1000 * (time.process_time() - before) / _TRIES)
        times["guard"] = [_milliseconds(search, plate, is_guard=True) for _ in range(_TRIES)]
        database.close()
    figures = {"bench": "search", "vehicles": vehicles, "first_ms": round(first), "follow_ms": round(follow, 1)}
    figures |= {f"{name}_ms": round(median(each), 1) for name, each in times.items()}
    slowest = round(max(max(each) for each in times.values()), 1)
    print(json.dumps({**figures, "slowest_ms": slowest, "cpu_ms": round(cpu, 1), "aim": "50 ms"}))


def _milliseconds(search: Search, text: str, *, is_guard: bool = False) -> float:
    started = time.perf_counter()
    if is_guard:
        search.for_guard(text, "bench")
    else:
        search.for_manager(text, 1, "bench")
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    command(main, sys.argv[1:])
