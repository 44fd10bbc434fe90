"""Pages name existing tests, and pages and code use the words of the field."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_ROOMS = [
    *("app/client_app.py", "app/server_app.py", "app/core", "app/deployment", "app/equalise", "app/evaluation"),
    *("app/experiment", "app/federation", "app/settings", "app/synthetic", "scripts", "strategies", "models"),
    *("app/data", "app/tasks", "app/images", "app/web", "app/cameras", "app/detection", "app/training"),
    # the SQL of old tables keeps their columns
    *(str(path.relative_to(ROOT)) for path in (ROOT / "app/register").glob("*.py") if path.stem != "upgrades"),
    *("conf", "docs", "README.md", "CONTRIBUTING.md"),
]
_WORDS = re.compile(
    r"\b(pictures?|look-?ups?|looked up|heard?|hears|felt|told|vouch\w*|surest|wanted|drawn|a pass|"
    r"(?<!make )(?<!plate text )sure|"
    r"passes|made (plate|vehicle|set|image)s?|sampled down|that serves|what there is|(taken?|took) back)\b",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?P<file>tests/[\w/]+\.py)?::(?P<test>\w+)")


def missing(page: str, root: Path) -> list[str]:
    """Tests named on a page and missing in their file; one without a file belongs to the file named last."""
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


def prose(path: Path) -> list[tuple[int, str]]:
    """Lines of a file's sentences: a page outside of code; comments, docstrings and texts of a program."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        code = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)", re.DOTALL)
        return list(enumerate(code.sub(lambda found: re.sub(r"[^\n]", "", found[0]), text).split("\n"), 1))
    if path.suffix == ".yaml":
        return [(number, line.partition("#")[2]) for number, line in enumerate(text.split("\n"), 1)]
    lines = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.COMMENT))
        if token.type in kinds and " " in token.string.strip():
            said = re.sub(r"`[^`]*`|\{[^{}]*\}|\w+=\S*", "", token.string)
            lines += [(token.start[0] + offset, line) for offset, line in enumerate(said.split("\n"))]
    return lines


def old_words(path: Path) -> list[str]:
    """Places of words that `../shared/HOUSE.md` replaces, in a file or a folder."""
    files = [path] if path.is_file() else [file for end in ("py", "yaml", "md") for file in path.rglob(f"*.{end}")]
    return [
        f"{file}:{number}: {found[0]}"
        for file in sorted(files)
        for number, line in prose(file)
        for found in _WORDS.finditer(line)
    ]


@pytest.mark.parametrize("room", _ROOMS)
def test_sentences_use_the_words_of_the_field(room):
    assert old_words(ROOT / room) == []


def test_old_words_are_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(
        '"""A picture `told`."""\nwanted = ["a=picture b", "{told} x"]  # make sure of drawn plates\n'
    )
    (tmp_path / "b.yaml").write_text("pictures: 3 # look-ups\n")
    (tmp_path / "c.md").write_text("```\npictures\n```\nTaken back, `sure`, [a](pictures.md)\n")
    found = ["a.py:1: picture", "a.py:2: drawn", "b.yaml:1: look-ups", "c.md:4: Taken back"]
    assert old_words(tmp_path) == [f"{tmp_path}/{place}" for place in found]
