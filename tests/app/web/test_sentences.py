"""Errors of the service in the language of a page."""

import ast
import re

import pytest
from catalogues import ROOT

from app.web.language import LANGUAGES
from app.web.sentences import ERRORS, subject, translated
from app.web.words import ACTIONS

CHINESE = LANGUAGES[1].translations
# Modules whose errors come before people at a page; those of others are read on a command line or in a log.
_SHOWN = [
    *(
        path
        for path in sorted((ROOT / "app/web").glob("*.py"))
        if path.stem not in ("known", "bodies", "times", "metrics")
    ),
    *(ROOT / "app/register" / f"{name}.py" for name in ("confirmations", "corrections", "merging", "owners", "tries")),
    *(ROOT / "app/register" / f"{name}.py" for name in ("lists", "list_files", "site_time", "tags", "notes")),
    *(ROOT / "app/register" / f"{name}.py" for name in ("records", "accounts", "sightings", "retention", "view_edits")),
]
_ELSEWHERE = ("dump", "importing")
_OTHER = ("Not Found", "Method Not Allowed", "the register has other tables: {}")


def raised(paths):
    """Sentences with which errors are raised, {} in place of their values."""
    for path in paths:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
            if name.endswith(("Error", "Exception")):
                yield from (text for text in map(sentence, call.args) if re.search(r"[a-z]{2,} [a-z{]", text))


def sentence(node):
    """The text of an argument; "" for anything else."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def bare(text):
    """A sentence without the names of its values."""
    return re.sub(r"\{\w+\}", "{}", text)


def actions():
    """Actions with which lines of the trail are written."""
    for path in sorted((ROOT / "app").glob("[rw]e*/*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(call, "func", None), "id", "") or getattr(getattr(call, "func", None), "attr", "")
            place = {"trail": 2, "_note_export": 0}.get(name)
            if place is None and name == "write" and "journal" in ast.unparse(call.func):
                place = 1
            if place is not None and len(call.args) > place:
                yield from (part.value for part in ast.walk(call.args[place]) if isinstance(part, ast.Constant))


def test_every_action_of_the_trail_is_in_the_catalogue():
    assert sorted(set(actions()) - set(ACTIONS) - {"session", "undo "}) == []


def test_every_error_that_a_page_shows_is_in_the_catalogue():
    assert sorted(set(raised(_SHOWN)) - set(map(bare, ERRORS))) == []


def test_the_catalogue_has_no_error_that_is_raised_nowhere():
    everywhere = "\n".join(
        path.read_text(encoding="utf-8")
        for place in ("app/web", "app/register", "app/images")
        for path in (ROOT / place).glob("*.py")
        if path.stem != "sentences"
    )
    words = re.sub(r"\s+", " ", re.sub(r'"\s+f?"', "", everywhere))
    gone = [
        text
        for text in map(bare, ERRORS)
        if text not in _OTHER and not all(part in words for part in text.split("{}") if len(part) > 4)
    ]
    assert gone == []


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("vehicle 17 has this plate already", "17 号车辆已登记此车牌"),
        ("there is no such image", "没有这张照片"),
        ("car: front.png: not an image (PNG, JPEG)", "car: front.png: 不是照片文件（PNG, JPEG）"),
        ("there is an account 'a {b}' already", "账号 'a {b}' 已存在"),
        ("vehicle 3 cannot be merged with itself", "3 号车辆不能与自身合并"),
        ("this needs the role admin; yours is guard", "此操作需要系统管理员权限，您的权限是保安"),
        ("nobody wrote this", "nobody wrote this"),
        ("", ""),
    ],
)
def test_an_error_is_translated_with_its_values(error, shown):
    assert translated(error, CHINESE) == shown
    assert translated(error, LANGUAGES[0].translations) == error


def test_the_subject_of_a_line_of_the_trail_is_translated():
    assert subject("vehicle 7", CHINESE) == "车辆 7"
    assert subject("list entry 12", CHINESE).endswith(" 12")
    assert "list" not in subject("list entry 12", CHINESE)
    assert subject("model 1f3a", CHINESE) == "模型 1f3a"
    assert subject("", CHINESE) == ""


def test_a_page_shows_the_error_in_its_language_and_the_api_in_english(as_role):
    client = as_role("guard")
    chinese = {"accept-language": "zh"}
    page = client.get("/vehicles/999", headers={"accept": "text/html", **chinese})
    assert "您的识别结果中没有 999 号车辆" in page.text
    assert client.get("/api/vehicles/999", headers=chinese).json()["detail"].startswith("there is no vehicle 999")
    client.cookies.clear()
    wrong = client.post("/login", data={"name": "guard", "password": "not it at all"}, headers=chinese)
    assert "姓名或密码不正确" in wrong.text
