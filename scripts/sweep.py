"""A sweep: a federation for each combination of values, and their figures in one table.

Run: python -m scripts.sweep experiment=quickstart federation.num_clients=2,4 seed=0,1,2
Table at any time: python -m scripts.sweep show=outputs/quickstart-sweep/<time>
Resume: python -m scripts.sweep resume=outputs/quickstart-sweep/<time>

All jobs are checked before the first one trains. One that cannot be started, or fails, does not stop the others: the
table says why. `resume=` runs those that were cut off, failed or not begun. `run_dir=FOLDER` names the folder of the
sweep. Beside the runs it holds `sweep.csv`, `sweep.md` and `sweep.png`: jobs by the keys in which they differ, every
model's first measure, seconds and megabytes.
"""

import json
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence

from filelock import FileLock, Timeout

from app.core.errors import HeldRunError
from app.core.files import replacing
from app.core.run_folder import RunFolder
from app.experiment.kept_overrides import OVERRIDES_FILE
from app.experiment.local_superlink import LocalSuperLink, SimulationError
from app.experiment.sweep_chart import sweep_chart
from app.experiment.sweeps import Job, Sweep, as_csv, differing, table
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


def prepared(words: Sequence[str], *, all_needed: bool = False) -> Sweep:
    """A sweep in its folder, all of its jobs checked and none begun; those that cannot be started are noted as failed.

    Args:
        all_needed: nothing comes of some jobs without the others.

    Raises SettingsError naming the jobs that cannot be started if the others cannot be either, or need them, or if jobs
    have folders of their own, which nobody knows of such a job."""
    if launcher := next((word for word in words if word.startswith("hydra/launcher=")), None):
        raise SettingsError(f"{launcher}: jobs run one after the other, as each takes all processors; leave it out")
    jobs = combinations(words, text_keys())
    print(f"{len(jobs)} jobs", file=sys.stderr)
    settings, wrong = _checked_all(jobs)
    possible = [each for each in settings if each]
    first = next((absolute(each.run_dir) for each in possible if each.run_dir), None)
    alike = len({absolute(each.run_dir) if each.run_dir else None for each in possible}) == 1
    named = {_folder_word(job) for job in jobs}
    own_folders = first is not None and (len(named) > 1 or "" in named or any("${" in word for word in named))
    if wrong and (all_needed or own_folders or not possible):
        split = " (a sweep splits values at commas; one in double quotes is kept whole)" if len(jobs) > 1 else ""
        raise SettingsError(f"nothing was started, because of {'; '.join(_named(jobs, wrong))}{split}")
    for line in _named(jobs, wrong):
        print(f"cannot be started, and is left out: {line}", file=sys.stderr)
    given = [absolute(each.run_dir) if each and each.run_dir else None for each in settings]
    places = [
        str(number) if path is None or alike else str(path / str(number) if given.count(path) > 1 else path)
        for number, path in enumerate(given)
    ]
    for path in {each for each in given if each} | {first / place for place in places if first}:
        if path.is_dir():
            RunFolder(path).refuse_earlier_run()
    folder = (alike and first) or RunFolder.create(absolute("outputs"), f"{possible[0].name}-sweep").path
    numbered = enumerate(zip(jobs, places, strict=True))
    found = Sweep(folder, [Job(list(job), place, wrong.get(number, "")) for number, (job, place) in numbered])
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
        raise SimulationError(
            f"{len(failed)} of {len(found.jobs)} jobs failed: {'; '.join(dict.fromkeys(failed.values()))}"
        )


def _run_job(found: Sweep, job: Job, superlink: LocalSuperLink) -> None:
    """Run a job, or go on with it where it was cut off; a failure is noted."""
    folder = found.folder_of(job)
    failed_before, job.failed = job.failed, ""
    try:
        if (folder / OVERRIDES_FILE).is_file():
            simulate.resume(folder, superlink)
        else:
            if failed_before:  # as it could not be started: its words may be right by now, if a file was missing
                simulate.checked(job.words)
            simulate.start(job.words, folder, superlink)
    except Exception as error:
        print_traceback(error)
        job.failed = first_line(error)
        print(f"failed: {job.failed}", file=sys.stderr)
    found.write()


def _checked_all(jobs: Sequence[Sequence[str]]) -> tuple[list[Settings | None], dict[int, str]]:
    """The settings of all jobs, None for one that could not be started, and why by its number."""
    settings: list[Settings | None] = []
    wrong: dict[int, str] = {}
    for number, job in enumerate(jobs):
        try:
            settings.append(simulate.checked(job))
        except Exception as error:
            if not is_users(error):
                raise
            settings.append(None)
            wrong[number] = first_line(error)
    return settings, wrong


def _named(jobs: Sequence[Sequence[str]], wrong: Mapping[int, str]) -> list[str]:
    """Each reason once, behind the jobs that it stops by the overrides in which all jobs differ."""
    keys = differing(jobs)
    stopped = defaultdict[str, list[str]](list)
    for number, reason in wrong.items():
        label = shlex.join(f"{key}={value}" for key, value in keys[number].items())
        stopped[reason].append(label or shlex.join(jobs[number]))
    return [f"{', '.join(labels)}: {reason}" for reason, labels in stopped.items()]


def _folder_word(job: Sequence[str]) -> str:
    """The override that names the folder; "" if there is none."""
    return next((word for word in job if word.lstrip("+").startswith("run_dir=")), "")


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
