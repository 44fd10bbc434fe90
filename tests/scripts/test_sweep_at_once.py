"""Jobs of a sweep beside one another: real processes, real runs of Flower, and what is left of them."""

import json
import sys

import psutil
import pytest

from app.core.run_folder import RunFolder
from app.experiment.jobs_at_once import JobCommand, cpus_each, run_at_once
from app.experiment.kept_overrides import read_overrides
from app.settings.load import SettingsError
from scripts import sweep

CODE = "import sys, time; print(time.monotonic()); time.sleep(float(sys.argv[1])); print(time.monotonic()); sys.exit(3)"


def waits(folder, *seconds):
    return [
        JobCommand(number, [sys.executable, "-c", CODE, str(each)], folder / f"{number}.log")
        for number, each in enumerate(seconds)
    ]


def test_no_more_run_at_a_time_than_asked_for(tmp_path):
    found = {}
    commands = waits(tmp_path, 1, 1, 1, 1)
    run_at_once(commands, 2, lambda command, status: found.update({command.number: status}))
    assert found == dict.fromkeys(range(4), 3)
    spans = [tuple(map(float, command.log.read_text().split())) for command in commands]
    beside = [sum(begin <= start < end for begin, end in spans) for start, _ in spans]
    assert max(beside) == 2
    assert [command.last_words() for command in commands] == [str(end) for _, end in spans]


def test_none_goes_on_without_the_command_that_started_it(tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_at_once(waits(tmp_path, 0, 600), 2, interrupt)
    assert not [each for each in psutil.Process().children() if CODE in each.cmdline()]


def test_a_launcher_of_hydra_is_answered_with_the_key(base_overrides):
    with pytest.raises(SettingsError, match=r"hydra/launcher=joblib: jobs=N runs N jobs"):
        sweep.main([*base_overrides.split(), "hydra/launcher=joblib", "seed=0,1"])


@pytest.mark.slow
def test_two_runs_at_a_time_end_as_each_alone(tmp_path, base_overrides, capsys, make_federation):
    folder = tmp_path / "sweep"
    words = [*base_overrides.split(), "federation.rounds=2", f"run_dir={folder}", "jobs=2"]
    with pytest.raises(sweep.SimulationError, match="1 of 3 jobs failed: "):
        sweep.main([*words, "seed=0,1,-1"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["states"] == ["ended", "ended", "failed"]
    assert sorted(path.name for path in folder.glob("job-*.log")) == ["job-1.log", "job-2.log"]
    for seed in range(2):
        own = folder / str(seed)
        assert f"simulation.cpus={cpus_each(2)}" in read_overrides(own)
        assert (own / "superlink.log").is_file()
        alone = make_federation(f"alone-{seed}", f"federation.rounds=2 seed={seed}").run()
        lines = [line["measures"] for line in RunFolder(own).read_metrics()]
        expected = [line["measures"] for line in alone.folder.read_metrics()]
        timeless = [{key: value for key, value in each.items() if "seconds" not in key} for each in lines]
        assert timeless == [{key: value for key, value in each.items() if "seconds" not in key} for each in expected]
