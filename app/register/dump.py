"""Statements of a PostgreSQL dump, checked before `psql` runs them.

`psql` also runs commands of the shell (`\\!`) and of the database's machine (`COPY ... FROM PROGRAM`). It takes a line
for rows, a statement or a command by what stood before it: each line must be one that both read in the same way.
"""

import re
from pathlib import Path

from app.register.errors import RegisterError

_NAME = r'(\w+|"\w+")'
_STATEMENT = re.compile(
    r"(SET \w+ = |SELECT pg_catalog\.(set_config|setval)\(|(CREATE|ALTER) (TABLE|SEQUENCE) |CREATE (UNIQUE )?INDEX )"
)
"""How the statements of `pg_dump` begin, besides COPY."""
_COPY = re.compile(rf"COPY public\.{_NAME} \({_NAME}(, {_NAME})*\) FROM stdin;")
_ROWS_END = ("\\.", "\\.\r")  # `psql` ends them at both
_MARK = re.compile(r"\\(un)?restrict \w+")  # of pg_dump itself, against commands in a dump
_TEXT = re.compile(r"'[^'\"]*'")
_LINE = re.compile(rf"""({_TEXT.pattern}|"\w+"|::|[\w .,()=])*;?""")
"""A line of a statement: its quotes end on it, it holds no comment, and a semicolon at its end alone."""
_OPENING = re.compile(
    rf"((CREATE TABLE|REFERENCES) public\.{_NAME}|\b(nextval|set_config|setval|vector|IDENTITY|KEY|UNIQUE|btree)) ?\("
)
"""What stands before a bracket in the tables of a register; elsewhere it is the call of a function."""


def require_statements(path: Path) -> None:
    """Raise RegisterError for a dump with anything but tables and their rows."""
    rows, statement, depth = False, False, 0
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for number, text in enumerate(file, start=1):
            line = text.rstrip("\n")
            if rows:
                rows = line not in _ROWS_END
                continue
            is_plain = line.isascii() and line.isprintable()  # a carriage return ends a comment
            if is_plain and (not line.strip() or line.startswith("--") or _MARK.fullmatch(line)):
                continue
            if is_plain and not statement and _COPY.fullmatch(line):
                rows = True
                continue
            depth = _depth(line, depth) if is_plain and (statement or _STATEMENT.match(line)) else -1
            statement = not line.endswith(";")
            if depth < 0 or (depth and not statement):  # `psql` does not end a statement within brackets
                raise RegisterError(f"{path}, line {number}: no statement that `backup` writes; nothing was changed")


def _depth(line: str, depth: int) -> int:
    """Brackets that are open after a line of a statement; -1 for a line that no dump of a register has."""
    bare = _TEXT.sub("''", line)
    if not _LINE.fullmatch(line) or "(" in _OPENING.sub("", bare):
        return -1
    for character in bare:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
    return depth
