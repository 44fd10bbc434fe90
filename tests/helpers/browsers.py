"""The browser of the page tests: skipped with a reason where there is none, and a failure where CI=true."""

import os
import shutil

import pytest

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_MISSING = "no Chromium is installed (.ci/packages installs it, or: apt-get install chromium)"


def chromium():
    """The program, or None."""
    return next((path for name in _PROGRAMS if (path := shutil.which(name))), None)


def may_skip(environment):
    """Whether a test may be left out on this machine; continuous integration has to run them all."""
    return environment.get("CI", "").lower() not in ("true", "1", "yes")


@pytest.fixture(scope="session")
def needs_chromium():
    """Skips a page test where there is no browser, and fails it in continuous integration."""
    if chromium() is None:
        (pytest.skip if may_skip(os.environ) else pytest.fail)(_MISSING)


def pytest_terminal_summary(terminalreporter):
    """Say how many page tests were left out, which a row of dots does not."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if _MISSING in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} page tests were skipped: {_MISSING}", yellow=True)
