"""Photographs without a line, in a real browser against a real server: kept, sent each once, and nobody else's."""

import re

import numpy as np
import pytest
from PIL import Image
from test_pages import address, browser, log_in, page, pytestmark, vehicles  # noqa: F401 - fixtures

from app.web.service import MOST_BYTES_OF_STRANGERS

KEPT = "the photographs are kept on this device"
# Playwright waits for a promise.
SIGHTINGS = "ask('GET', '/api/sightings?limit=200').then((rows) => rows.map((row) => row.id))"
INCIDENTS = "ask('GET', '/api/incidents?limit=200').then((rows) => rows.map((row) => [row.id, row.sighting, row.note]))"
CACHED = """caches.keys()
  .then((names) => Promise.all(names.map((name) => caches.open(name).then((cache) => cache.keys()))))
  .then((lists) => lists.flat().map((request) => new URL(request.url).pathname))"""


def ready(view, role):
    """The page of an account, with its service worker active."""
    log_in(view, role)
    view.get_by_role("heading", name="Whose vehicle is this?").wait_for()
    view.evaluate("navigator.serviceWorker.ready.then(() => true)")
    while "/shell" not in view.evaluate(CACHED):
        view.wait_for_timeout(50)


def choose(view, picture):
    view.get_by_label("Photographs of the vehicle").set_input_files(picture)
    view.get_by_role("button", name="Identify").click()


def items(view, state=""):
    return view.locator(f"#waiting li{'.' + state if state else ''}")


def log_out(view):
    view.get_by_role("button", name="Log out").click()
    view.get_by_role("heading", name="Log in").wait_for()


@pytest.fixture
def guard(page):  # noqa: F811
    ready(page, "guard")
    return page


def test_a_query_without_a_line_is_sent_once_with_its_report(guard, vehicles):  # noqa: F811
    before, reported = guard.evaluate(SIGHTINGS), guard.evaluate(INCIDENTS)
    guard.context.set_offline(True)
    guard.goto("/")
    guard.get_by_text("The register cannot be reached.").wait_for()
    assert guard.get_by_role("link", name="Register").count() == 0
    choose(guard, vehicles[0][0])
    guard.locator("#error").get_by_text(KEPT).wait_for()
    items(guard, "waiting").wait_for()
    assert guard.locator("#waiting img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    guard.get_by_role("button", name="Report an incident with it").click()
    guard.locator("#waiting").get_by_label("Note").fill("white van")
    guard.get_by_role("button", name="Keep the report").click()
    guard.get_by_text("Incident: blocks a gate").wait_for()
    guard.goto("/sightings")  # any page has the same frame, and the same list
    items(guard, "waiting").wait_for()
    guard.context.set_offline(False)
    guard.get_by_role("heading", name="Sightings").wait_for(timeout=40_000)  # the page that was asked for
    guard.goto("/")
    items(guard, "sent").wait_for()
    guard.get_by_text("Resident: AB 12").wait_for()
    guard.get_by_text(re.compile(r"Incident \d+ was reported")).wait_for()
    after = guard.evaluate(SIGHTINGS)
    assert len(after) == len(before) + 1
    [new] = [row for row in guard.evaluate(INCIDENTS) if row not in reported]
    assert new[1:] == [max(after), "white van"]
    guard.reload()
    guard.get_by_role("link", name=f"Sighting {max(after)}").click()
    guard.get_by_role("heading", name=re.compile(f"{max(after)}")).first.wait_for()
    guard.goto("/")
    guard.get_by_role("button", name="Remove from this list").click()
    guard.locator("#waiting").wait_for(state="hidden")
    assert guard.evaluate(SIGHTINGS) == after


def test_nothing_of_anybody_is_in_the_workers_cache(guard, vehicles):  # noqa: F811
    choose(guard, vehicles[0][0])
    guard.locator("#decision").wait_for(state="visible")
    for path in ("/sightings", "/incidents", "/tokens", "/"):
        guard.goto(path)
    paths = guard.evaluate(CACHED)
    assert "/shell" in paths
    assert all(path == "/shell" or path.startswith(("/static/", "/locales/")) for path in paths), paths
    shell = guard.evaluate("caches.match('/shell').then((page) => page.text())")
    assert not [word for word in ("guard", "csrf", "AB 12") if word in shell]


LOST = """() => {
  const real = window.fetch;
  window.fetch = async (path, options) => {
    const response = await real(path, options);
    if (path !== "/api/identify") return response;
    throw new TypeError('lost');
  };
}"""


def test_an_answer_that_was_lost_on_its_way_is_no_second_query(guard, vehicles):  # noqa: F811
    before = guard.evaluate(SIGHTINGS)

    guard.evaluate(LOST)
    choose(guard, vehicles[0][0])
    items(guard, "waiting").wait_for()
    assert len(guard.evaluate(SIGHTINGS)) == len(before) + 1
    guard.reload()
    items(guard, "sent").wait_for()
    assert len(guard.evaluate(SIGHTINGS)) == len(before) + 1


def test_a_page_that_is_killed_while_it_sends_sends_no_second_time(guard, vehicles):  # noqa: F811
    before = guard.evaluate(SIGHTINGS)
    guard.context.set_offline(True)
    choose(guard, vehicles[1][0])
    items(guard, "waiting").wait_for()
    guard.evaluate(LOST.replace("throw new TypeError('lost')", "await new Promise(() => {})"))
    guard.context.set_offline(False)
    another = guard.context.new_page()
    while len(another.context.request.get("/api/sightings?limit=200").json()) == len(before):
        another.wait_for_timeout(20)
    guard.wait_for_timeout(300)  # the service is done, and the page waits for the answer
    guard.close()
    another.goto("/")
    items(another, "sent").wait_for()
    another.get_by_text("Resident: CD 34").wait_for()
    assert len(another.evaluate(SIGHTINGS)) == len(before) + 1


def test_what_the_service_refuses_is_kept_shown_and_not_sent_for_ever(guard, vehicles, tmp_path):  # noqa: F811
    (tmp_path / "no.jpg").write_bytes(b"nothing")
    guard.context.set_offline(True)
    choose(guard, tmp_path / "no.jpg")
    items(guard, "waiting").wait_for()
    choose(guard, vehicles[0][0])
    items(guard, "waiting").nth(1).wait_for()
    guard.context.set_offline(False)
    refused = items(guard, "refused")
    refused.wait_for(timeout=40_000)
    assert "no.jpg: not an image" in refused.inner_text()
    items(guard, "sent").wait_for()  # those behind it do not wait for it
    asked = []
    guard.on("request", lambda request: asked.append(request.url) if "/api/identify" in request.url else None)
    guard.evaluate("send()")
    guard.reload()
    refused.wait_for()
    assert asked == []
    refused.get_by_role("button", name="Try again").click()
    guard.wait_for_timeout(500)
    refused.wait_for()
    assert len(asked) == 1
    refused.get_by_role("button", name="Delete").click()
    refused.wait_for(state="detached")


FAILS = """(status) => {
  window.real ??= window.fetch;
  window.asked ??= [];
  window.fetch = (path, options) => {
    if (path !== "/api/identify") return window.real(path, options);
    window.asked.push(status);
    return Promise.resolve(new Response("no", { status }));
  };
}"""


def test_a_service_that_fails_at_a_query_is_not_asked_for_ever(guard, vehicles):  # noqa: F811
    guard.context.set_offline(True)
    choose(guard, vehicles[0][0])
    items(guard, "waiting").wait_for()
    for status in (503, 429, 507, *[500] * 6):
        guard.evaluate(FAILS, status)
        guard.context.set_offline(False)
        guard.evaluate("(async () => { await sending; await send(); })()")
        if status != 500:
            assert items(guard, "waiting").count() == 1
    assert "status 500" in items(guard, "refused").inner_text()
    asked = guard.evaluate("window.asked")
    assert asked.count(500) == 5
    assert {503, 429, 507} <= set(asked)


def test_the_queue_belongs_to_its_account(page, vehicles):  # noqa: F811
    ready(page, "guard")
    page.context.set_offline(True)
    choose(page, vehicles[0][0])
    items(page, "waiting").wait_for()
    page.route("**/api/identify", lambda route: route.abort())  # the line is back, but for queries
    page.context.set_offline(False)
    log_out(page)
    ready(page, "manager")
    page.unroute("**/api/identify")
    before = page.evaluate(SIGHTINGS)
    page.evaluate("send()")
    assert items(page).count() == 0
    assert page.evaluate(SIGHTINGS) == before
    page.context.set_offline(True)
    page.goto("/")
    page.get_by_text("The register cannot be reached.").wait_for()
    page.wait_for_timeout(300)
    assert items(page).count() == 0
    page.context.set_offline(False)
    page.get_by_role("button", name="Log out").wait_for(timeout=40_000)  # the frame made room by itself
    log_out(page)
    page.context.set_offline(True)
    page.goto("/")
    page.get_by_text("Nobody is logged in on this device").wait_for()
    choose(page, vehicles[0][0])
    page.get_by_text("the photographs are not kept: nobody is logged in on this device").wait_for()
    page.context.set_offline(False)
    ready(page, "guard")
    items(page, "sent").wait_for()
    assert items(page).count() == 1
    log_out(page)
    log_in(page, "manager")
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()
    [added] = [number for number in page.evaluate(SIGHTINGS) if number not in before]
    assert page.evaluate(f"ask('GET', '/api/sightings/{added}').then((row) => row.account)") == "guard"


def test_a_session_that_ended_meanwhile_sends_after_the_next_log_in(guard, tmp_path):
    """With a photograph that is larger than a stranger may send, as those of phones are."""
    photograph = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(photograph)
    assert photograph.stat().st_size > MOST_BYTES_OF_STRANGERS
    before = guard.evaluate(SIGHTINGS)
    guard.context.set_offline(True)
    choose(guard, photograph)
    items(guard, "waiting").wait_for()
    guard.context.clear_cookies()
    guard.context.set_offline(False)
    guard.get_by_text("log in again, then it is sent").wait_for(timeout=40_000)
    log_in(guard, "guard")
    items(guard, "sent").wait_for()
    assert len(guard.evaluate(SIGHTINGS)) == len(before) + 1


FULL = """() => {
const put = IDBObjectStore.prototype.put;
IDBObjectStore.prototype.put = function (row, ...rest) {
  if (row.fields) throw new DOMException("no room", "QuotaExceededError");
  return put.call(this, row, ...rest);
};
}"""


def test_a_device_without_room_says_so_and_the_photographs_stay_in_the_form(guard, vehicles):  # noqa: F811
    guard.context.set_offline(True)
    guard.evaluate(FULL)
    choose(guard, vehicles[0][0])
    guard.get_by_text("the photographs are not kept: there is no room left on this device").wait_for()
    assert guard.locator("input[name=pictures]").evaluate("input => input.files.length") == 1
    assert items(guard).count() == 0


def test_what_the_service_would_not_take_is_not_kept(guard, vehicles):  # noqa: F811
    guard.context.set_offline(True)
    choose(guard, [vehicles[0][0]] * 9)
    guard.get_by_text("too many or too large photographs: at most 8").wait_for()
    assert items(guard).count() == 0
