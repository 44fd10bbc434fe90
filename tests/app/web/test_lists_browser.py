"""Lists in a real browser, phone and desktop: entries made and changed, and answers in colour and words."""

import zoneinfo
from datetime import datetime, timedelta

import pytest
from browsers import chromium
from web_service import WORDS, jpeg, served

from app.register.lists import ChosenEntries, Kind, NewEntry
from app.register.plate_reader import PlateRead

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_chromium")]
ZONE = "Europe/Berlin"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[(390, 844), (1280, 900)], ids=["phone", "desktop"])
def page(request, browser, service):
    """A page of a site in Berlin that nobody is logged in to."""
    width, height = request.param
    with served(service) as port:
        service.state.register.zone = zoneinfo.ZoneInfo(ZONE)
        about = {"base_url": f"http://127.0.0.1:{port}", "timezone_id": ZONE, "reduced_motion": "reduce"}
        context = browser.new_context(viewport={"width": width, "height": height}, **about)
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        yield page
        context.close()
        assert wrong == []


def log_in(page, role):
    page.goto("/login")
    page.get_by_label("Name").fill(role)
    page.get_by_label("Password").fill(WORDS[role])
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()


def add(page, **values):
    form = page.locator("#list-entry")
    form.locator("[name=kind]").select_option(values.pop("kind"))
    for name, value in values.items():
        form.locator(f"[name={name}]").fill(value)
    form.get_by_role("button", name="Add to the list").click()


def ask(page, seed):
    """The headline of the answer to a photograph, and what stands below it."""
    name, data, kind = jpeg(seed)
    page.evaluate("byId('decision').textContent = ''")
    page.locator("input[name=pictures]").set_input_files([{"name": name, "mimeType": kind, "buffer": data}])
    page.get_by_role("button", name="Identify", exact=True).click()
    page.locator("#decision:not(:empty)").wait_for(state="visible")
    return page.locator("#decision").inner_text(), [row.inner_text() for row in page.locator("#listed li").all()]


@pytest.fixture
def read(monkeypatch):
    def read(text):
        reads = [PlateRead(text, 0.99, 0, (0.99,) * len(text))] if text else []
        monkeypatch.setattr("app.register.plate_reader.QueryPlateReader.read", lambda *_: reads)

    return read


def test_a_manager_keeps_the_lists(page, identification):
    log_in(page, "manager")
    page.get_by_role("link", name="Lists").click()
    add(page, kind="visitor", plate="VI 51", flat="12")
    page.get_by_text("a visitor needs an end: until when?").wait_for()
    assert page.locator("#list-entry [name=plate]").input_value() == "VI 51"  # the form stays as it was filled in
    add(page, kind="visitor", end="2900-06-30", end_time="14:00")
    page.locator("td", has_text="2900-06-30 14:00").wait_for()
    add(page, kind="deny", plate="XY 4711", reason="<b>contractor</b> banned")
    page.locator("td", has_text="<b>contractor</b> banned").wait_for()
    assert page.locator("td b").count() == 0
    page.get_by_text("Change entry 1").click()
    page.locator("form[data-entry='1'] [name=end_time]").fill("")
    page.get_by_role("button", name="Save entry 1").click()
    page.locator("td", has_text="2900-06-30 24:00").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_text("Change entry 2").click()
    page.get_by_role("button", name="Remove entry 2").click()
    page.get_by_text("XY 4711").wait_for(state="detached")
    (row,) = identification.lists.entries(ChosenEntries())
    assert (row.id, row.flat, row.ends.isoformat()) == (1, "12", "2900-06-30T22:00:00+00:00")
    table = {"name": "l.csv", "mimeType": "text/csv", "buffer": b"kind,plate\ndeny,ZZ 1\n"}
    page.locator("#list-import input").set_input_files([table])
    page.get_by_role("button", name="Add them").click()
    page.get_by_text("1 entry was added").wait_for()


def test_a_guard_reads_who_may_not_come_in_and_who_visits(page, identification, read):
    today = datetime.now(zoneinfo.ZoneInfo(ZONE))
    later = today + timedelta(minutes=5)
    for entry in (
        NewEntry(Kind.deny, "XY 4711", reason="contractor <i>banned</i>"),
        NewEntry(Kind.visitor, "VI 51", flat="12", ends=later, reason="plumber"),
        NewEntry(Kind.allow, "AL 1", reason="post"),
        NewEntry(Kind.deny, vehicle=1, reason="unpaid"),
    ):
        identification.lists.add(entry, "manager")
    log_in(page, "guard")
    read("XY4711")
    assert ask(page, 7) == ("No entry: contractor <i>banned</i>", ["Unknown vehicle"])
    colours = [page.locator("#decision").evaluate("each => getComputedStyle(each).color")]
    read("VI51")
    until = later.strftime("%H:%M" if later.date() == today.date() else "%Y-%m-%d %H:%M").replace("00:00", "24:00")
    assert ask(page, 8) == (f"Visitor of flat 12 until {until} (plumber)", [])
    colours.append(page.locator("#decision").evaluate("each => getComputedStyle(each).color"))
    assert len(set(colours)) == 2
    read("XY47I1")
    headline, lines = ask(page, 9)
    assert headline == "Unknown vehicle"
    words = "No entry: contractor <i>banned</i>; please compare the plate with XY 4711"
    assert lines == [f"May be on a list: {words}"]
    read("")
    assert ask(page, 10) == ("Unknown vehicle", [])
    read("AL1")
    assert ask(page, 11) == ("Allowed: post", [])
    read("")
    assert ask(page, 1)[0] == "No entry: unpaid"


def test_a_denied_resident_is_named_below_the_denial(page, identification, read):
    identification.lists.add(NewEntry(Kind.deny, vehicle=1, reason="unpaid"), "manager")
    log_in(page, "guard")
    read("AB12")
    assert ask(page, 1) == ("No entry: unpaid", ["Resident: AB 12, flat 12"])
    page.get_by_role("link", name="Lists").click()
    page.locator("td", has_text="unpaid").wait_for()
    assert page.locator("#list-entry").count() == 0
    page.goto("/sightings")
    page.get_by_text("No entry: unpaid").wait_for()
