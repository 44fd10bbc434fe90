"""Pages name tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_NAMED = re.compile(r"(?P<file>tests/[\w/]+\.py)?::(?P<test>\w+)")


def missing(page: str, root: Path) -> list[str]:
    """Tests that a page names and that are not in that file; one without a file is in the file named last."""
    gone, file = [], ""
    for found in _NAMED.finditer(page):
        file = found["file"] or file
        text = (root / file).read_text(encoding="utf-8") if (root / file).is_file() else ""
        if f"\ndef {found['test']}(" not in text:
            gone.append(f"{file}::{found['test']}")
    gone += [path for path in re.findall(r"`(tests/[\w/.]+)`", page) if not (root / path).exists()]
    return gone


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_test_that_a_page_names_is_there(page):
    assert missing((ROOT / "docs" / page).read_text(encoding="utf-8"), ROOT) == []


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").write_text('"""A."""\n\n\ndef test_one():\n    pass\n')
    page = "`tests/test_a.py::test_one`, `::test_two`, `::test_on`, `tests/test_b.py::test_one`, `tests/gone.py`"
    gone = ["tests/test_a.py::test_two", "tests/test_a.py::test_on", "tests/test_b.py::test_one", "tests/gone.py"]
    assert missing(page, tmp_path) == gone


def test_module_docstrings_begin_with_their_noun():
    begun = re.compile(r'"""(What|How|Whether|That|Which)\b')
    modules = [
        path for place in ("app", "models", "scripts", "strategies", "tests") for path in (ROOT / place).rglob("*.py")
    ]
    assert [path for path in modules if begun.match(path.read_text(encoding="utf-8"))] == []
