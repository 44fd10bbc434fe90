"""The one command: every command under it, its help, its completion in real shells, and its errors."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from app.settings.load import SettingsError, known_keys, load_settings
from app.settings.stored import with_overrides
from scripts.catalogue import COMMANDS, KEYS, PROGRAM, choices, groups, help_of, settings_of
from scripts.cli import completions, main
from scripts.command import command

_PROGRAM = Path(sys.executable).parent / PROGRAM


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(_PROGRAM), *words], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def test_every_command_of_the_scripts_has_a_name_here():
    folder = Path(__file__).parents[2] / "scripts"
    former = {"bench_privacy", "registry"}
    programs = {path.stem for path in folder.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    modules = programs - former - {"cli"}
    assert {command.module.split(".")[1] for command in COMMANDS.values()} == modules | {"bench"}


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.takes != "options"])
def test_help_names_the_commands_as_they_are_called_and_loads_no_network(name, capsys):
    main([name, "--help"])
    text = capsys.readouterr().out
    assert f"{PROGRAM} {name}" in text
    assert "python -m" not in text
    assert (COMMANDS[name].takes == "settings") == ("experiment " in text and "quickstart" in text)


def _lists_settings(text: str) -> bool:
    keys = all(f"\n  {key} " in text for key in KEYS)
    return keys and all(f"\n  {group} " in text and choices(group)[-1] in text for group in groups())


@pytest.mark.parametrize("name", ["evaluate", "export"])
def test_help_of_a_checkpoint_s_command_has_the_data_alone(name):
    """Each further key that would be listed is refused, or without effect."""
    text = settings_of(COMMANDS[name])
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  ")] == ["data", "data.root", "data"]
    assert text in help_of(name, COMMANDS[name])
    kept = load_settings("data.root=x").as_dict()
    for key in ("experiment", "seed", "model", "privacy"):
        with pytest.raises(SettingsError, match=f"{key} cannot be changed for a checkpoint"):
            with_overrides(kept, [f"{key}=1"])


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.takes == "settings"])
def test_help_of_a_command_with_settings_lists_keys_groups_and_choices(name, capsys):
    main([name, "--help"])
    assert _lists_settings(capsys.readouterr().out)
    module = import_module(COMMANDS[name].module)
    command(module.main, ["--help"])  # python -m scripts.NAME --help
    text = capsys.readouterr().out
    assert _lists_settings(text)
    assert text.startswith(module.__doc__.strip().splitlines()[0])


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_of_the_program_lists_commands_and_settings(words, capsys):
    command(main, words)
    text = capsys.readouterr().out
    assert [name for name in COMMANDS if f" {name} " not in text] == []
    assert _lists_settings(text)


def test_help_and_version_load_no_network():
    code = "import sys; from scripts.cli import main; main(['simulate', '--help']); main(['--version']); "
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'flwr')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.endswith(f"{PROGRAM} {version(PROGRAM)}\n")


def test_the_settings_that_help_names_exist():
    assert KEYS.keys() <= {*groups(), *known_keys()}


@pytest.mark.slow
def test_a_command_with_options_calls_itself_as_it_was_called():
    done = _run("federation", "add-site", COLUMNS="200")
    assert done.returncode == 2
    assert "Missing argument" in done.stderr
    assert f"{PROGRAM} federation add-site" in _run("federation", "add-site", "--help", COLUMNS="200").stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["simulat"], "unknown command 'simulat'; known: data, simulate, "),
        (["sweeps"], "did you mean sweep?"),
        (["--vresion"], "Did you mean '--version'?"),
    ],
)
def test_a_mistyped_command_is_one_line(words, error):
    done = _run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert error in done.stderr


def test_a_sweep_is_a_simulation_of_several(capsys):
    with pytest.raises(SettingsError, match=r"nothing was started, because of train\.epoch=1"):
        main(["sweep", "train.epoch=1,2"])
    assert "2 jobs" in capsys.readouterr().err
    with pytest.raises(SettingsError, match=r"hydra/launcher=joblib: jobs run one after the other"):
        main(["sweep", "hydra/launcher=joblib", "seed=1,2"])


@pytest.mark.parametrize(
    ("before", "incomplete", "found"),
    [
        ([], "experiment=qui", ["experiment=quickstart"]),
        (["seed=1", "experiment", "="], "qui", ["quickstart"]),
        (["experiment"], "", choices("experiment")),
        ([], "train.epo", ["train.epochs="]),
        (["experiment=quickstart"], "priv", ["privacy="]),
        ([], "train.epochs=", []),
        ([], "data.root=/ho", []),
    ],
)
def test_settings_are_completed(before, incomplete, found):
    assert [each for each in completions(before, incomplete) if "." not in each or "." in incomplete] == found


@pytest.mark.slow
def test_bash_completes_commands_settings_and_options(tmp_path):
    """A real bash with the script that `--show-completion` prints."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    script = tmp_path / "completion.sh"
    script.write_text(_run(_FED_VEHICLE_REID_COMPLETE="source_bash").stdout)

    def completed(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        code = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; "
        code += f"_fed_vehicle_reid_completion {_PROGRAM}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run([bash, "-c", code], capture_output=True, text=True, timeout=120)
        return done.stdout.split()

    assert completed(PROGRAM, "simul") == ["simulate"]
    assert completed(PROGRAM, "simulate", "experiment", "=", "quick") == ["quickstart"]
    assert completed(PROGRAM, "register", "identify", "--plate-p") == ["--plate-picture"]
