"""The search box in a real browser: as somebody types, what a role is shown, and Back."""

import json
import re

from test_pages import (  # noqa: F401 - fixtures
    address,
    browser,
    fits,
    log_in,
    page,
    pytestmark,
    vehicles,
)


def box(page):  # noqa: F811
    return page.get_by_role("searchbox")


def test_a_guard_finds_a_plate_as_it_is_typed_and_comes_back_to_it(page):  # noqa: F811
    log_in(page, "guard")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/api/search" in request.url else None)
    box(page).press_sequentially("ab", delay=20)
    page.wait_for_timeout(500)
    assert asked == []  # too little for a guard
    box(page).press_sequentially("-12", delay=20)
    page.get_by_text("1 vehicle found.").wait_for()
    assert len(asked) == 1  # once, not at each key
    card = page.locator("#hits li")
    assert card.all_inner_texts() == ["AB 12\nflat 12\nvehicle 1: this plate"]
    image = card.locator("img")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    fits(page, "search")
    card.get_by_role("link").click()
    page.get_by_role("heading", name="Vehicle 1").wait_for()
    page.wait_for_load_state()  # a page that is still being opened cannot be left backwards
    page.go_back()
    page.get_by_text("1 vehicle found.").wait_for()
    assert box(page).input_value() == "ab-12"
    page.get_by_role("button", name="Log out").click()
    log_in(page, "manager")
    page.wait_for_load_state()  # a page that is still being opened cannot be left backwards
    page.go_back()
    page.wait_for_load_state()
    assert page.locator("#hits li").count() == 0  # another session begins with nothing


def test_a_part_of_a_plate_shows_the_guard_no_vehicle(page):  # noqa: F811
    log_in(page, "guard")
    box(page).fill("cd3*")
    page.locator("#hits li").wait_for()
    assert page.locator("#hits li").inner_text() == "CD 34\nvehicle 2: part of the plate"
    assert page.locator("#hits a, #hits img").count() == 0
    box(page).fill("xyz 99")
    page.get_by_text("No vehicle is found by this.").wait_for()
    assert page.locator("#hits li").count() == 0


def test_a_manager_finds_an_owner_and_keys_are_enough(page):  # noqa: F811
    log_in(page, "manager")
    page.goto("/register")
    box(page).focus()
    page.keyboard.type("resident")
    page.keyboard.press("Enter")
    page.locator("#hits li").wait_for()
    assert page.locator("#hits li").inner_text() == "AB 12\nA. Resident\nflat 12\nvehicle 1: owner"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "/vehicles/1"


HIT = {"vehicle": 5, "found_by": "plate_part", "plate": "<b>", "flat": None, "owner": None, "picture": None}


def test_pages_are_turned_and_back_returns_to_the_same_one(page):  # noqa: F811
    """The answers are the test's: the register holds too few vehicles for two pages."""

    def answer(route):
        q, number = re.findall(r"q=(\w+)&page=(\d+)", route.request.url)[0]
        hit = {**HIT, "vehicle": int(number), "may_open": True, "plate": f"<b>{q}"}
        body = {"page": int(number), "pages": 3, "total": 45, "more": False, "hits": [hit]}
        route.fulfill(status=200, body=json.dumps(body), content_type="application/json")

    log_in(page, "manager")
    page.route("**/api/search?*", answer)
    box(page).fill("many")
    page.get_by_text("45 vehicles found. Page 1 of 3.").wait_for()
    assert page.get_by_role("button", name="Page before").is_disabled()
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("Page 2 of 3.").wait_for()
    assert page.locator("#hits strong").inner_text() == "<b>many"
    page.locator("#hits a").evaluate("link => link.href = '/register'")
    page.locator("#hits a").click()
    page.get_by_role("heading", name="Register").wait_for()
    page.wait_for_load_state()  # a page that is still being opened cannot be left backwards
    page.go_back()
    page.get_by_text("Page 2 of 3.").wait_for()


def test_no_failure_leaves_what_was_found_before(page):  # noqa: F811
    log_in(page, "manager")
    box(page).fill("ab 12")
    page.locator("#hits li").wait_for()
    refused = '{"detail": "too many"}'
    page.route(
        "**/api/search?*", lambda route: route.fulfill(status=503, body=refused, content_type="application/json")
    )
    box(page).fill("ab 1")
    page.locator("#search-error").get_by_text("too many").wait_for()
    assert page.locator("#hits li").count() == 0
    assert page.locator("#search-said").is_hidden()
    page.unroute("**/api/search?*")
    box(page).fill("ab 12")
    page.locator("#hits li").wait_for()
    assert page.locator("#search-error").is_hidden()
    box(page).fill("")
    page.locator("#hits li").wait_for(state="detached")


def test_a_plate_typed_before_the_script_arrives_is_found_and_in_no_address(page):  # noqa: F811
    log_in(page, "guard")
    held, asked = [], []
    page.route("**/search.js*", lambda route: held.append(route))
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/", wait_until="commit")
    box(page).fill("ab-12")
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    assert len(held) == 1
    assert not [url for url in asked if "ab-12" in url]
    held[0].continue_()
    page.get_by_text("1 vehicle found.").wait_for()
    assert box(page).input_value() == "ab-12"
