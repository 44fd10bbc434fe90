"""Lines of a party's log: levels, party, time, JSON, rotation, and a process that outlives what it logs."""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import traceback
from contextlib import closing
from datetime import UTC, datetime

import pytest
from flwr.supercore.http_logging import LOG_FORMAT, UTCFormatter
from flwr.supercore.logger import ConsoleHandler

from app.deployment.log_lines import FORMATS, LogFile, LogSettingError, LogSettings, main, write_log

NOW = datetime(2026, 11, 29, 22, 5, 7, 123456, UTC)


def record(level, message, name="flwr"):
    return logging.LogRecord(name, level, "", 0, message, None, None)


def of_flower(level, message):
    """A line as Flower writes it to its console."""
    stream = io.StringIO()
    ConsoleHandler(stream=stream).emit(record(level, message))
    return stream.getvalue().encode()


def of_its_web_server(level, message):
    return UTCFormatter(LOG_FORMAT).format(record(level, message, "uvicorn.error")).encode() + b"\n"


def rows(lines, form="json"):
    found = []
    write_log(lines, LogSettings("north", form, "", 1, 1), lambda line: found.append(line) or 0, lambda: NOW)
    return [json.loads(line) for line in found] if form == "json" else found


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_levels_are_those_of_flower_without_its_colours(level):
    line = of_flower(level, "SuperNode ID: 7")
    assert b"\x1b[" in line
    expected = {"time": "2026-11-29T22:05:07.123Z", "level": logging.getLevelName(level), "party": "north"}
    assert rows([line]) == [{**expected, "message": "SuperNode ID: 7"}]
    [web] = rows([of_its_web_server(level, "a: b")])
    assert (web["level"], web["message"]) == (logging.getLevelName(level), "[uvicorn.error] a: b")


def test_text_lines():
    [line] = rows([of_flower(logging.WARNING, "slow")], "text")
    assert line == "2026-11-29T22:05:07.123Z WARNING north: slow"


def test_a_traceback_is_an_error_to_its_end():
    try:
        raise ValueError("broken")
    except ValueError:
        text = traceback.format_exc()
    lines = [of_flower(logging.WARNING, "first"), *(line.encode() for line in text.splitlines()), b"", b"after\n"]
    found = [(row["level"], row["message"]) for row in rows(lines)]
    assert found[0] == ("WARNING", "first")
    assert {level for level, _ in found[1:-1]} == {"ERROR"}
    assert found[-2:] == [("ERROR", "ValueError: broken"), ("INFO", "after")]
    assert len(found) == 2 + len(text.splitlines())


def test_indented_lines_have_the_level_of_the_line_before():
    lines = [of_flower(logging.WARNING, "DEPRECATED FEATURE"), b"      more of it\n", b"error: no port\n"]
    assert [row["level"] for row in rows(lines)] == ["WARNING", "WARNING", "ERROR"]


def test_nothing_that_a_line_holds_moves_a_cursor():
    [row] = rows([b"10 %\r50 %\r100 % \x07\x1b]0;title\x07 \xff caf\xc3\xa9\tx\n"])
    assert row["message"].isprintable()
    assert row["message"].startswith("100 %")
    assert row["message"].endswith("x")
    assert "\\xff café" in row["message"]


def test_a_file_is_rotated_and_the_oldest_goes(tmp_path):
    settings = LogSettings("north", "text", str(tmp_path / "log/north.log"), 1, 2)
    lines = [f"{number:06d} ".encode() + 290 * b"x" + b"\n" for number in range(12_000)]  # 330 bytes each, 4 MB
    with closing(LogFile(settings)) as file:
        write_log(lines, settings, file.write, lambda: NOW)
    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert names == ["north.log", "north.log.1", "north.log.2"]
    assert all(path.stat().st_size <= 1_000_000 for path in (tmp_path / "log").iterdir())
    kept = [line for name in names[::-1] for line in (tmp_path / "log" / name).read_text().splitlines()]
    numbers = [int(re.search(r"north: (\d+)", line)[1]) for line in kept]
    assert numbers == list(range(numbers[0], 12_000))
    assert len(numbers) > 2 * 3000


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path, monkeypatch):
    settings = LogSettings("north", "text", str(tmp_path / "north.log"), 1, 0)
    emit, full = logging.StreamHandler.emit, [False]

    def may_be_full(handler, made):
        if full[0]:
            handler.handleError(made)
        else:
            emit(handler, made)

    monkeypatch.setattr(logging.StreamHandler, "emit", may_be_full)

    def lines():
        yield b"one\n"
        full[0] = True
        yield from (b"two\n", b"three\n")
        full[0] = False
        yield b"four\n"

    with closing(LogFile(settings)) as file:
        write_log(lines(), settings, file.write, lambda: NOW)
    said = [line.partition("north: ")[2] for line in (tmp_path / "north.log").read_text().splitlines()]
    assert said == ["one", "four", "2 lines before this one could not be written"]


def test_a_device_that_is_always_full_ends_nothing():
    words = [sys.executable, "-P", "-m", "app.deployment.log_lines", "north", "text", "/dev/full", "1", "0"]
    done = subprocess.run(words, input=b"one\ntwo\n", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_it_outlives_signals_and_ends_with_its_last_writer(tmp_path):
    """As a service is stopped: all its processes get the signal, and the last words still come."""
    path = tmp_path / "north.log"
    words = [sys.executable, "-P", "-m", "app.deployment.log_lines", "north", "text", str(path), "1", "0"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        process.stdin.write(b"first\n")
        process.stdin.flush()
        while not path.exists() or not path.read_text():
            assert process.poll() is None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(process.pid, number)
        process.stdin.write(b"last words\n")
    assert process.returncode == 0
    assert [line.partition("north: ")[2] for line in path.read_text().splitlines()] == ["first", "last words"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("xml", "", "10", "5"), "LOG_FORMAT=xml is none of text, json, raw"),
        (("text", "", "0", "5"), "LOG_MB=0 is no whole number from 1 to 100000"),
        (("text", "", "10", "many"), "LOG_KEPT=many is no whole number from 0 to 1000"),
        (("json", "{tmp}/file/log", "10", "5"), "LOG_FILE={tmp}/file/log cannot be opened: .*"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path, capsys, words, said):
    (tmp_path / "file").touch()
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    assert main("north", *words, "--check") == 2
    assert re.fullmatch(f"error: {said.replace('{tmp}', str(tmp_path))}\n", capsys.readouterr().err)


def test_a_setting_is_checked_before_anything_is_started(root):
    """The start command of a server ends with the sentence, and its pipe is not left behind."""
    env = (root / "server/server.env").read_text()
    env = env.replace("VENV=/opt/x/.venv", f"VENV='{sys.prefix}'").replace("LOG_FORMAT=text", "LOG_FORMAT=xml")
    (root / "server/server.env").write_text(env)
    done = subprocess.run(["/bin/sh", str(root / "server/start.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: LOG_FORMAT=xml is none of text, json, raw\n")
    assert not list((root / "server/state").glob("log*"))
    assert FORMATS == ("text", "json")
    with pytest.raises(LogSettingError):
        LogSettings.of("server", "raw", "", "1", "1")
