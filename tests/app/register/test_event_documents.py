"""Receivers in docs/cameras.md: its file is read, its program takes what is sent."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from event_receivers import SECRET, answers, name_receivers, wait_until

from app.register.receivers import Webhook, read_receivers
from app.register.webhook import DeliveryError, WebhookSender

PAGE = (Path(__file__).resolve().parents[3] / "docs/cameras.md").read_text(encoding="utf-8")


def block(language, holding):
    """The code of the page in a language that holds a word."""
    return next(code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if holding in code)


def test_the_file_of_the_page_is_one(tmp_path):
    name_receivers(tmp_path, block("toml", "[[webhook]]").replace("whsec_...", SECRET))
    assert [receiver.name for receiver in read_receivers(tmp_path).every()] == ["desk", "hub", "barrier", "office"]


def test_the_program_of_the_page_takes_each_event_once_and_refuses_forged_ones():
    code = block("python", "do_POST")
    assert len([line for line in code.splitlines() if line]) <= 20
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "SECRET": SECRET, "PORT": str(port)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        wait_until(lambda: answers(port))
        sender = WebhookSender(Webhook(name="desk", url=f"http://127.0.0.1:{port}/", secret=SECRET))
        for key in ("a", "a", "b"):
            sender.send(key, "test", f'{{"id": "{key}"}}')
        forged = SECRET.replace("M", "N")
        with pytest.raises(DeliveryError, match="401"):
            WebhookSender(Webhook(name="desk", url=f"http://127.0.0.1:{port}/", secret=forged)).send("c", "test", "{}")
        process.terminate()
        assert process.stdout.read() == "{'id': 'a'}\n{'id': 'b'}\n"
