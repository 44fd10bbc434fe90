"""Blocks of code on the pages, and the commands in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_FENCED = re.compile(r"^(?P<indent> *)```(?P<kind>[^\n]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:python -m scripts\.|fed-vehicle-reid )[^`\n]+)`")


class Block(NamedTuple):
    """One block between fences.

    Args:
        kind: after the fence; "" for commands and their output.
        line: of the fence, from 1.
    """

    page: str
    line: int
    kind: str
    text: str

    @property
    def first(self) -> str:
        """Its first line."""
        return self.text.split("\n", 1)[0]


def pages() -> list[Path]:
    """The pages for readers."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, without their indent."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(
            name,
            text[: found.start()].count("\n") + 1,
            found["kind"].strip(),
            re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
        )
        for found in _FENCED.finditer(text)
    ]


def inline_commands(page: Path) -> list[list[str]]:
    """Commands within sentences and tables that are written in full: without `...`, a choice, or a part in brackets."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    found = [shlex.split(words) for words in _INLINE.findall(text)]
    return [
        words for words in found if not {"...", "|", r"\|", "COMMAND"} & set(words) and "[--" not in " ".join(words)
    ]


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a block: all its lines, or after a `$` those that begin with one."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    found = [shlex.split(line, comments=True) for line in lines]
    return [part for words in found for part in _apart(words) if part]


def _apart(words: list[str]) -> list[list[str]]:
    """Commands of one line, apart at `&&` and `;`."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";") or word.endswith(";"):
            parts[-1] += [word[:-1]] if len(word) > 1 and word.endswith(";") else []
            parts.append([])
        else:
            parts[-1].append(word)
    return parts
