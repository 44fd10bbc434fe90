"""The answer page in a real browser, narrow and wide: every outcome in words, and what a guard says to it."""

import re

import pytest
from browsers import chromium
from web_service import WORDS, jpeg, served

from app.evaluation.likelihood import Line
from app.register.evidence import Calibration
from app.register.matcher import Threshold
from app.register.plate_reader import PlateRead

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_chromium")]
RATES = {"strangers": 0.5, "stranger_rate": 0.01, "unknown_rate": 0.01}


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


@pytest.fixture(params=[(390, 844), (1280, 900)], ids=["phone", "wide"])
def page(request, browser, service):
    """A guard who is logged in."""
    width, height = request.param
    with served(service) as port:
        context = browser.new_context(
            base_url=f"http://127.0.0.1:{port}", viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto("/")
        page.get_by_label("Name").fill("guard")
        page.get_by_label("Password").fill(WORDS["guard"])
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="Whose vehicle is this?").wait_for()
        yield page
        context.close()
        assert wrong == []


@pytest.fixture
def set_thresholds(identification):
    def set_thresholds(match, unsure, margin=0.0):
        model, _ = identification.active_model.current()
        each = Threshold(match, unsure, margin)
        identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, each), "tester")

    return set_thresholds


def ask(page, seed, said):
    """Upload a photograph; the answer must be in these words, and no figure stands outside the fold."""
    name, data, kind = jpeg(seed)
    files = [{"name": name, "mimeType": kind, "buffer": data}]
    page.locator("input[name=pictures]").set_input_files(files)
    page.get_by_role("button", name="Identify", exact=True).click()
    page.locator("#decision", has_text=said).wait_for(state="visible")
    assert page.locator("#decision").inner_text() == said
    assert page.locator("#reason").is_hidden()
    assert "%" not in page.locator("#answer").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), said
    page.get_by_text("Figures", exact=True).click()
    page.locator("#reason li").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), said
    page.get_by_text("Figures", exact=True).click()


def buttons(page):
    """Names of the buttons to confirm with that are visible, as a screen reader says them."""
    return [
        button.inner_text() for button in page.locator("#confirm").get_by_role("button").all() if button.is_visible()
    ]


def tap(page, name, noted):
    page.get_by_role("button", name=name, exact=True).click()
    page.locator("#confirm").get_by_role("status").get_by_text(noted, exact=True).wait_for()
    pressed = page.locator("#confirm button[aria-pressed=true]")
    assert [button.inner_text() for button in pressed.all()] == [name]


def said_of(identification):
    """What is kept of the latest confirmation."""
    _, row = identification.confirmations.all()[-1]
    return row.truth, row.vehicle_id, row.account


def test_a_resident(page, identification):
    ask(page, 1, "Resident: AB 12, flat 12")
    assert page.locator("#confirm-title").inner_text() == "Is this answer right?"
    assert buttons(page) == ["Right", "Wrong"]
    tap(page, "Right", "Noted: the answer is right.")
    assert said_of(identification) == ("vehicle", 1, "guard")
    tap(page, "Wrong", "Noted: the answer is wrong.")
    assert said_of(identification) == ("wrong", None, "guard")
    assert page.get_by_role("group", name="Which one was it?").is_visible()
    more = ["It is vehicle 2, no plate", "None of these, it is not registered"]
    assert buttons(page) == ["Right", "Wrong", *more, "Withdraw what I said"]
    tap(page, more[0], "Noted: it is vehicle 2, no plate.")
    assert said_of(identification) == ("vehicle", 2, "guard")
    tap(page, more[1], "Noted: it is not registered.")
    assert said_of(identification) == ("none", None, "guard")
    page.get_by_role("button", name="Withdraw what I said").click()
    page.get_by_text("Withdrawn: nothing is noted about this answer.").wait_for()
    assert identification.confirmations.all() == []
    assert page.locator("#confirm button[aria-pressed=true]").count() == 0
    assert buttons(page) == ["Right", "Wrong"]
    ask(page, 2, "Vehicle 2, enrolled without plate and flat")
    assert page.locator("#confirmed").is_hidden()


def test_one_of_these(page, identification, set_thresholds):
    set_thresholds(1.0, -1.0)
    ask(page, 7, "Looks like one of these: please compare")
    assert page.get_by_role("group", name="Which one is it?").is_visible()
    named = sorted(buttons(page))
    assert named == ["It is AB 12, vehicle 1", "It is vehicle 2, no plate", "None of these"]
    tap(page, "It is AB 12, vehicle 1", "Noted: it is AB 12, vehicle 1.")
    assert said_of(identification) == ("vehicle", 1, "guard")
    tap(page, "None of these", "Noted: it is not registered.")
    assert said_of(identification) == ("none", None, "guard")


def test_not_registered(page, identification, set_thresholds, monkeypatch):
    set_thresholds(1.0, 1.0)
    ask(page, 40, "Unknown vehicle")
    assert buttons(page) == ["Right, it is not registered", "Wrong, it is registered"]
    tap(page, "Right, it is not registered", "Noted: the answer is right.")
    assert said_of(identification) == ("none", None, "guard")
    tap(page, "Wrong, it is registered", "Noted: the answer is wrong.")
    assert page.locator("#confirm-others").is_hidden()  # it shows no vehicle that could be chosen
    model, _ = identification.active_model.current()
    lines = dict.fromkeys(model.libraries, Line(0.0, -9.0))
    calibration = Calibration(lines=lines, named=10.0, registered=-2.0, **RATES)
    identification.models.set_evidence(model.id, calibration, "tester")
    monkeypatch.setattr(identification.plate_reader, "read", lambda _: [PlateRead("XY987", 0.99, 0, (0.99,) * 5)])
    ask(page, 41, "Not registered: plate XY987")
    tap(page, "Right, it is not registered", "Noted: the answer is right.")
    assert said_of(identification) == ("none", None, "guard")


def test_a_plate_that_was_read_can_be_chosen(page, identification, set_thresholds, monkeypatch):
    """Of an unknown vehicle whose plate is near an enrolled one."""
    set_thresholds(1.0, 1.0)
    monkeypatch.setattr(identification.plate_reader, "read", lambda _: [PlateRead("AB1Z", 0.99, 0, (0.99,) * 4)])
    ask(page, 40, "Unknown vehicle")
    assert page.locator("#plates li").inner_text() == "Similar plate: AB 12, vehicle 1"
    tap(page, "Wrong, it is registered", "Noted: the answer is wrong.")
    tap(page, "It is AB 12, vehicle 1", "Noted: it is AB 12, vehicle 1.")
    assert said_of(identification) == ("vehicle", 1, "guard")


def test_keys_alone_confirm(page, identification):
    ask(page, 1, "Resident: AB 12, flat 12")
    page.get_by_role("link", name="vehicle 1", exact=True).focus()
    reached = []
    while "Right" not in reached:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
        assert len(reached) < 5, reached
    page.keyboard.press("Enter")
    page.get_by_text("Noted: the answer is right.").wait_for()
    assert said_of(identification) == ("vehicle", 1, "guard")
    focused = page.evaluate("document.activeElement.textContent")
    assert focused == "Right"  # who goes on with keys is not sent to the top of the page


def test_a_refused_word_is_said_and_nothing_is_noted(page, identification):
    ask(page, 1, "Resident: AB 12, flat 12")
    identification.register.forget(account="tester", vehicle_id=1)
    page.get_by_role("button", name="Right", exact=True).click()
    page.get_by_role("alert").get_by_text(re.compile("there is no sighting")).wait_for()
    assert page.locator("#confirmed").is_hidden()
    assert page.locator("#confirm button[aria-pressed=true]").count() == 0
