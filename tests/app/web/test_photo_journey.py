"""Files of the project between an upload and its answer: few, so that the way can be read."""

import sys
import threading
from pathlib import Path

import pytest
from web_service import jpeg

ROOT = Path(__file__).parents[3]
PACKAGES = ("app/", "models/", "scripts/", "strategies/")
# On the way, but of other journeys: the network's own code, and the checks that stand before every request and image.
NETWORK = ("models/", "app/tasks/", "app/evaluation/", "app/core/device.py")
GUARDS = (
    "app/register/accounts.py",
    "app/web/compression.py",
    "app/web/known.py",
    "app/web/security.py",
    "app/web/service.py",
)


@pytest.fixture
def called():
    """Files in which a function was called, by the threads that begin after this and by the caller's."""
    seen = set()

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_name != "<module>":
            seen.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    yield seen
    threading.setprofile(None)
    sys.setprofile(None)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_few_files_lie_between_a_photograph_and_its_owner(called, as_role):
    client, upload = as_role("guard"), {"pictures": jpeg(1), "plate_pictures": jpeg(101)}
    client.post("/api/identify", files=upload)  # the network and the index are read once
    called.clear()
    answer = client.post("/api/identify", files=upload).json()
    files = map(Path, called.copy())  # threads may still go on
    names = {path.relative_to(ROOT).as_posix() for path in files if path.is_relative_to(ROOT)}
    names = {name for name in names if name.startswith(PACKAGES)}
    assert answer["decision"] == "match"
    assert answer["candidates"][0]["flat"] == "12"
    assert names >= {"app/web/api.py", "app/core/files.py", "app/register/matcher.py", *GUARDS}
    own = sorted(name for name in names if not name.startswith(NETWORK) and name not in GUARDS)
    assert len(own) <= 24, own
    assert len(names) <= 38, sorted(names)
