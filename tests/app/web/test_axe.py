"""Every page with content, checked by axe-core: phone and desktop, light and dark, in all languages.

axe-core (MPL-2.0) comes with the package axe-playwright-python, for tests alone."""

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsers import chromium
from fastapi.routing import APIRoute
from registers import photo
from web_service import FAST, WORDS, served

from app.register.accounts import Accounts, Role
from app.register.identification import Identification
from app.register.lists import Kind, NewEntry
from app.register.photos import VehiclePhoto
from app.register.records import NewOwner
from app.register.tags import tagged
from app.web.language import LANGUAGES
from app.web.service import create_app
from app.web.state import State

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_chromium")]
SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1400, "height": 900}}
# Pages of one thing, and how the rest of a page is brought up; pages without a number are found by themselves.
OF_ONE = {"/vehicles/{vehicle}": "/vehicles/1", "/sightings/{sighting}": "/sightings/1"}
NO_PAGES = r"z$|openapi|/docs|/redoc|\.png$|/federation/\{name\}|^/static/|^/locales/|\.js$|\.webmanifest$|/manifest"
# Latin words that stand on Chinese pages: names, what somebody wrote, units, and words of the interface for programs.
LATIN = r"\b(API|CSV|PNG|JPEG|MiB|UTC|DET|ROC|mAP|AB|CD|Resident|van|white|English|gate|camera|global|python|calibrate"
LATIN += r"|operator|admin|manager|guard)\b"


@pytest.fixture(scope="module")
def app(tmp_path_factory, run_folder):
    """The service over a register with vehicles; its run folder has curves."""
    folder = tmp_path_factory.mktemp("axe")
    with closing(Identification(folder / "register", device="cpu")) as identification:
        identification.active_model.change_to_run(run_folder, "global", "operator")
        for number, plate in enumerate(("AB 12", "AB 13", "CD 34")):
            views = [VehiclePhoto(photo(number, (96, 128)), plate=None) for _ in range(2)]
            owner = NewOwner("A. Resident", str(12 + number))
            tags = tagged(["EV"] if number else [])
            identification.enrol(views, account="operator", owner=owner, plate=plate, also=tags)
        end = datetime.now(UTC) + timedelta(days=1)
        identification.lists.add(NewEntry(Kind.visitor, "VI 51", flat="12", ends=end), "operator")
        identification.lists.add(NewEntry(Kind.deny, vehicle=1, reason="camera"), "operator")
        accounts = Accounts(identification.database, FAST)
        for role in Role:
            accounts.add(role.name, role, WORDS[role.name], "operator")

        def make_state():
            state = State(identification, run_folder)
            state.accounts = accounts
            state.close = lambda: None  # the register is closed here
            return state

        photo(0, (96, 128)).image.save(folder / "query.png")
        photo(2, (96, 128)).image.save(folder / "denied.png")
        photo(7, (96, 128)).image.save(folder / "stranger.png")
        app = create_app(make_state)
        app.folder = folder
        yield app


@pytest.fixture(scope="module")
def view(app):
    """A page of a browser that is logged in as the admin, after an answer, an incident and a token."""
    from playwright.sync_api import sync_playwright

    with served(app) as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        address = f"http://127.0.0.1:{port}"
        page = browser.new_page(base_url=address, viewport=SIZES["phone"], service_workers="block")
        page.route("**/healthz", lambda route: route.abort())  # the page without a connection leaves when there is one
        page.goto("/login")
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(WORDS["admin"])
        page.get_by_role("button", name="Log in").click()
        ask(page, app.folder / "query.png")
        page.get_by_label("Note").fill("white van")
        page.locator("#incident button").click()
        page.locator("#reported").wait_for()
        page.evaluate("ask('POST', '/api/tokens', { label: 'gate camera' })")
        page.evaluate("ask('POST', '/api/lists', { kind: 'deny', vehicle: 3, reason: 'white van' })")
        page.evaluate("ask('POST', '/api/lists', { kind: 'visitor', plate: 'AB 99', flat: '12', end: '2999-12-24' })")
        yield page
        browser.close()


def ask(page, path):
    page.goto("/")
    page.locator("#identify [name=pictures]").set_input_files(path)
    page.locator("#identify button").click()
    page.locator("#decision").wait_for(state="visible")


def pages(app):
    """The addresses of all pages."""
    for route in (each for part in app.routes for each in getattr(part, "original_router", app).routes):
        is_page = isinstance(route, APIRoute) and "GET" in route.methods and not route.include_in_schema
        if is_page and not re.search(NO_PAGES, route.path):
            yield OF_ONE[route.path] if "{" in route.path else route.path
    yield "/vehicles/999"


def choose(page, language):
    page.context.add_cookies([{"name": "language", "value": language.tag, "url": page.url}])


def violations(page):
    """What axe finds on a page in each size and each colour scheme, with all that is folded unfolded."""
    page.evaluate("document.querySelectorAll('details').forEach((fold) => (fold.open = true))")
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for found in Axe().run(page).response["violations"]:
                yield (
                    size,
                    scheme,
                    found["id"],
                    [(node["html"][:120], node["failureSummary"]) for node in found["nodes"][:3]],
                )


def foreign(page):
    """Words in Latin letters that a Chinese page shows."""
    shown = re.sub(LATIN, "", page.locator("body").inner_text())
    return re.findall(r"\b[A-Za-z]{3,}\b", re.sub(r"\S*[/.:@]\S*|`[^`]*`|--\S+", "", shown))


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.tag)
def test_no_page_has_violations(app, view, language):
    choose(view, language)
    found, latin = {}, {}
    for path in pages(app):
        view.goto(path)
        assert view.locator("html").get_attribute("lang") == language.tag
        found[path] = list(violations(view))
        latin[path] = foreign(view)
    for name in ("query", "denied", "stranger"):
        ask(view, app.folder / f"{name}.png")
        found[name], latin[name] = list(violations(view)), foreign(view)
    assert [(path, *row) for path, rows in found.items() for row in rows] == []
    if language.tag == "zh-Hans":
        for path in ("/api", "/federation"):
            latin.pop(path)
        assert {path: " ".join(words) for path, words in latin.items() if words} == {}
    assert len(found) > 15


def test_a_violation_is_found(view):
    view.goto("/login")
    view.evaluate("document.querySelector('main').append(Object.assign(new Image(), { src: '/static/icon.svg' }))")
    assert "image-alt" in {rule for _, _, rule, _ in violations(view)}
