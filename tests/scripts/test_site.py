"""The pages as a site: no broken link, and the API from docstrings."""

import os
import subprocess
import sys

import pytest
from page_blocks import ROOT

pytestmark = pytest.mark.slow


def test_the_site_is_built_without_a_warning(tmp_path):
    words = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    api = (tmp_path / "site/api/index.html").read_text()
    assert all(f'id="app.api.{name}"' in api for name in ("Recogniser", "rank", "evaluate", "PlateTextReader"))
    assert "https://" not in "".join(line for line in api.splitlines() if "<link" in line and "stylesheet" in line)
