"""Languages of the pages: the choice, the catalogues, and texts that nobody marked for translation."""

import re
import string
from html.parser import HTMLParser

import pytest
from catalogues import ROOT, extracted, untranslated
from jinja2 import nodes

from app.web.language import ENGLISH, LANGUAGES, accepted, catalogue
from app.web.rendering import TEMPLATES, environment

HTML = {"accept": "text/html"}
FOREIGN = [language for language in LANGUAGES if language != ENGLISH]


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("en-GB,en;q=0.9,zh;q=0.1", "en"),
        ("de,zh-TW;q=0.3,en;q=0.2", "zh-Hans"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=x,,;;,fr", "en"),
        ("zh;q=nan", "en"),
    ],
)
def test_the_browser_chooses_the_language(header, tag):
    assert accepted(header).tag == tag


def test_a_page_has_the_language_of_the_browser(client):
    page = client.get("/login", headers={**HTML, "accept-language": "zh-CN"}).text
    assert '<html lang="zh-Hans">' in page
    assert "登录" in page


def test_a_choice_outweighs_the_browser_and_leads_back(client):
    chosen = client.post("/language", data={"language": "zh-Hans", "to": "/sightings?vehicle=1"})
    assert (chosen.status_code, chosen.headers["location"]) == (303, "/sightings?vehicle=1")
    assert '<html lang="zh-Hans">' in client.get("/login", headers={**HTML, "accept-language": "en"}).text
    assert client.post("/language", data={"language": "en", "to": "//elsewhere"}).headers["location"] == "/"
    assert '<html lang="en">' in client.get("/login", headers={**HTML, "accept-language": "zh"}).text


def test_the_choice_of_an_account_comes_with_its_log_in(as_role):
    def chosen_by(name):
        return '<html lang="zh-Hans">' in as_role(name).get("/", headers=HTML).text

    client = as_role("guard")
    client.post("/language", data={"language": "zh-Hans"}, headers={"x-csrf-token": "00"})
    assert not chosen_by("guard"), "a form of another page is no choice of the account"
    as_role("guard").post("/language", data={"language": "zh-Hans"})
    assert chosen_by("guard")
    assert not chosen_by("manager")
    as_role("guard").post("/language", data={"language": "en"})
    assert not chosen_by("guard")


def test_a_language_that_is_not_there_is_refused(client):
    refused = client.post("/language", data={"language": "../../etc"})
    assert refused.status_code == 422
    client.cookies.set("language", "../../etc")
    assert '<html lang="en">' in client.get("/login", headers=HTML).text


@pytest.mark.slow
def test_scripts_have_the_messages_of_the_page(client):
    page = client.get("/login", headers={**HTML, "accept-language": "zh"}).text
    (path,) = re.findall(r'src="(/locales/[^"]+)"', page)
    script = client.get(path)
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    assert '"the register cannot be reached": "无法连接登记库"' in script.text
    assert "/locales/" not in client.get("/login", headers=HTML).text, "English stands in the scripts"
    for name in ("zh-Hans-0.js", "..%2f..%2fetc%2fpasswd", "en-.js"):
        assert client.get(f"/locales/{name}").status_code == 404


def test_an_error_page_has_the_language(client):
    page = client.get("/nowhere", headers={**HTML, "accept-language": "zh"})
    assert (page.status_code, "操作未成功" in page.text) == (404, True)


@pytest.mark.parametrize("language", FOREIGN, ids=lambda language: language.tag)
def test_every_text_is_translated_and_none_is_left_over(language):
    held = catalogue(language.locale)
    assert untranslated(held) == [], "python tests/helpers/catalogues.py adds new texts; then translate them"
    ids = {message.id for message in held if message.id}
    assert ids == {message.id for message in extracted() if message.id}


@pytest.mark.parametrize("language", FOREIGN, ids=lambda language: language.tag)
def test_translations_have_the_values_and_marks_of_their_texts(language):
    wrong = [
        (message.id, given)
        for message in catalogue(language.locale)
        if message.id
        for given in ([message.string] if isinstance(message.string, str) else message.string)
        if values(message.id if isinstance(message.id, str) else message.id[-1]) != values(given)
    ]
    assert wrong == []


def values(text):
    """Values in a text and the marks of HTML, in any order."""
    inside = [name for _, name, _, _ in string.Formatter().parse(text) if name] if "%(" not in text else []
    found = [*inside, *re.findall(r"%\(\w+\)s|%%|%(?!\()", text), *re.findall(r"<[^>]+>", text)]
    return sorted(found)


class Texts(HTMLParser):
    """Texts of a page that somebody reads, outside of code."""

    def __init__(self):
        super().__init__()
        self.found, self.inside = [], []

    def handle_starttag(self, tag, attrs):
        self.inside.append(tag)
        self.found += [value for name, value in attrs if name in ("alt", "aria-label", "title", "placeholder")]

    def handle_endtag(self, tag):
        if tag in self.inside:
            del self.inside[len(self.inside) - 1 - self.inside[::-1].index(tag) :]

    def handle_data(self, data):
        if "code" not in self.inside:
            self.found.append(data)


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.stem)
def test_templates_have_no_text_that_is_not_marked(path):
    assert unmarked(path.read_text(encoding="utf-8")) == []


def unmarked(template):
    """Words that stand in a template itself."""
    tree = environment().parse(template)
    reader = Texts()
    reader.feed("".join(getattr(node, "data", "·") for node in outputs(tree)))
    words = [text.strip() for text in reader.found if text and re.search(r"\b(?!UTC\b)[^\W\d_]{2,}", text)]
    constants = [node.value for node in conditional(tree) if re.search(r"[^\W\d_]{2,} ", str(node.value))]
    return words + constants


def outputs(tree):
    """The pieces of a template in their order: text, and what is computed."""
    return [piece for output in tree.find_all(nodes.Output) for piece in output.nodes]


def conditional(tree):
    """Constants that a template writes as they are."""
    for output in tree.find_all(nodes.Output):
        for choice in output.find_all(nodes.CondExpr):
            yield from (each for each in (choice.expr1, choice.expr2) if isinstance(each, nodes.Const))


def test_a_text_that_is_not_marked_is_named():
    assert unmarked("<p>{{ _('fine') }} {% trans %}fine{% endtrans %} <code>code</code></p>") == []
    assert unmarked('<img alt="Not fine"><p>Nor this</p>{{ "nor this" if a else _("b") }}') == [
        "Not fine",
        "Nor this",
        "nor this",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "app/web/static").glob("*.js")), ids=lambda path: path.stem)
def test_scripts_show_no_text_that_is_not_marked(path):
    assert unmarked_in_script(path.read_text(encoding="utf-8")) == []


def unmarked_in_script(script):
    """Texts of two words or more, and those that are given to what shows a text, outside of `_`."""
    script = re.sub(r"^\s*//.*$|\s// .*$|^\"use strict\";$", "", script, flags=re.MULTILINE)
    script = re.sub(r'class: (\w+ \? )?"[^"]*"( : "[^"]*")?', "", script)
    script = re.sub(r"\b(_|ngettext)\(\s*(\"[^\"]*\",?\s*)+", "(", script)
    found = re.findall(r"([\"`])((?:(?!\1).)*)\1", script)
    return [
        text for _, text in found if re.search(r"[A-Za-z]{2,},? [A-Za-z]{2,}|^[A-Z][a-z]+\b(?!-)", without_code(text))
    ]


def without_code(text):
    """A template string without its expressions, a selector without its parts."""
    text = re.sub(r"\$\{[^}]*\}", "", text)
    return "" if re.fullmatch(r"[\w.#\[\]=:, -]+", text) and re.search(r"[.#\[]", text) else text


def test_a_text_of_a_script_that_is_not_marked_is_named():
    assert (
        unmarked_in_script('show("a", _("Well done", { b })); // "Well done"\nfind("ul.cards li, button.close");') == []
    )
    assert unmarked_in_script('show("error", "Not well"); show("a", `no vehicle ${n} here`);') == [
        "Not well",
        "no vehicle ${n} here",
    ]
