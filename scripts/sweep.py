"""A sweep: a federation for each combination of values, and their figures in one table.

Run: python -m scripts.sweep experiment=quickstart federation.num_clients=2,4 seed=0,1,2
Table at any time: python -m scripts.sweep show=outputs/quickstart-sweep/<time>
Resume: python -m scripts.sweep resume=outputs/quickstart-sweep/<time>

All jobs are checked before the first one trains; a failed one does not stop the others. `resume=` runs those that were
cut off, failed or not begun. `run_dir=FOLDER` names the folder of the sweep. Beside the runs it holds `sweep.csv`,
`sweep.md` and `sweep.png`: jobs by the keys in which they differ, every model's first measure, seconds and megabytes.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from app.core.errors import HeldRunError
from app.core.files import replacing
from app.core.run_folder import RunFolder
from app.experiment.kept_overrides import OVERRIDES_FILE
from app.experiment.local_superlink import LocalSuperLink, SimulationError
from app.experiment.sweep_chart import sweep_chart
from app.experiment.sweeps import Job, Sweep, as_csv, table
from app.settings.load import Settings, SettingsError, absolute, text_keys
from app.settings.overrides import sweep as combinations
from scripts import simulate
from scripts.command import command, first_line, is_users, print_traceback, split_words


def main(argv: Sequence[str]) -> None:
    """Run, resume or show a sweep; the last line is a JSON object."""
    own, words = split_words(argv, {"show": "", "resume": ""})
    if (own["show"] or own["resume"]) and len(argv) > 1:
        raise SettingsError("show=FOLDER and resume=FOLDER take all else from that folder")
    if own["show"]:
        found = Sweep.read(absolute(own["show"]))
        _write_tables(found)
        _print(found)
        return
    if own["resume"]:
        run(Sweep.read(absolute(own["resume"])))
        return
    run(prepared([word for word in words if word not in ("-m", "--multirun")]))


def prepared(words: Sequence[str]) -> Sweep:
    """A sweep in its folder, all of its jobs checked and none begun.

    Raises SettingsError naming every job that could not be started."""
    jobs = combinations(words, text_keys())
    print(f"{len(jobs)} jobs", file=sys.stderr)
    settings = _checked_all(jobs)
    given = [absolute(each.run_dir) if each.run_dir else None for each in settings]
    alike = len(set(given)) == 1
    places = [
        str(number) if path is None or alike else str(path / str(number) if given.count(path) > 1 else path)
        for number, path in enumerate(given)
    ]
    for path in {each for each in given if each} | {(given[0] or Path()) / place for place in places if given[0]}:
        if path.is_dir():
            RunFolder(path).refuse_earlier_run()
    folder = (alike and given[0]) or RunFolder.create(absolute("outputs"), f"{settings[0].name}-sweep").path
    found = Sweep(folder, [Job(list(job), place) for job, place in zip(jobs, places, strict=True)])
    found.write()
    return found


def run(found: Sweep) -> None:
    """Run the jobs that have not ended, one after the other; tables after each.

    Raises HeldRunError if another command is at it, SimulationError at the end if any has failed."""
    lock = FileLock(found.path / ".sweep.lock", thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HeldRunError(f"another command is at the sweep in {found.path}") from error
    with lock, LocalSuperLink(found.path) as superlink:
        for number, job in enumerate(found.jobs, start=1):
            if found.state_of(job) != "ended":
                print(f"job {number} of {len(found.jobs)}: {' '.join(job.words)}", file=sys.stderr)
                _run_job(found, job, superlink)
                _write_tables(found)
    if failed := _print(found):
        raise SimulationError(f"{len(failed)} of {len(found.jobs)} jobs failed: {'; '.join(failed.values())}")


def _run_job(found: Sweep, job: Job, superlink: LocalSuperLink) -> None:
    """Run a job, or go on with it where it was cut off; a failure is noted."""
    folder = found.folder_of(job)
    job.failed = ""
    try:
        if (folder / OVERRIDES_FILE).is_file():
            simulate.resume(folder, superlink)
        else:
            simulate.start(job.words, folder, superlink)
    except Exception as error:
        print_traceback(error)
        job.failed = first_line(error)
        print(f"failed: {job.failed}", file=sys.stderr)
    found.write()


def _checked_all(jobs: Sequence[Sequence[str]]) -> list[Settings]:
    """The settings of all jobs. Raises SettingsError naming each job that could not be started."""
    settings, wrong = [], []
    for job in jobs:
        try:
            settings.append(simulate.checked(job))
        except Exception as error:
            if not is_users(error):
                raise
            wrong.append(f"{' '.join(job)}: {first_line(error)}")
    if wrong:
        split = " (a sweep splits values at commas; one in double quotes is kept whole)" if len(jobs) > 1 else ""
        raise SettingsError(f"nothing was started, because of {'; '.join(wrong)}{split}")
    return settings


def _write_tables(found: Sweep) -> None:
    rows = found.rows()
    for name, text in (("sweep.csv", as_csv(rows)), ("sweep.md", table(rows, markdown=True) + "\n")):
        with replacing(found.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    chart = found.path / f".{os.getpid()}.sweep.png"
    if sweep_chart(rows, chart):
        chart.replace(found.path / "sweep.png")


def _print(found: Sweep) -> dict[str, str]:
    """Print the table; the reasons of the failed jobs by folder."""
    rows = found.rows()
    failed = {
        str(found.folder_of(job)): row.reason
        for job, row in zip(found.jobs, rows, strict=True)
        if row.state == "failed"
    }
    print(table(rows))
    print(f"tables and chart: {found.path}")
    jobs = [str(found.folder_of(job)) for job in found.jobs]
    print(json.dumps({"sweep": str(found.path), "jobs": jobs, "states": [row.state for row in rows], "failed": failed}))
    return failed


if __name__ == "__main__":
    command(main, sys.argv[1:])
