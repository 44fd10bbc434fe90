"""Nothing of an earlier answer stays on a page below an error, nor while another answer is waited for."""

import json
import re

from test_pages import address, browser, log_in, page, pytestmark, vehicles  # noqa: F401 - fixtures


def ask(view, picture, wait=True):
    view.get_by_label("Photographs of the vehicle").set_input_files(picture)
    view.get_by_role("button", name="Identify").click()
    if wait:
        view.locator("#decision").wait_for(state="visible")


CONFIRM = ("confirm-title", "confirm-answers", "confirm-others", "confirmed")


def nothing_remains(view):
    assert view.locator("#answer").is_hidden()
    for part in (
        "decision",
        "why",
        "reason",
        "plate-text",
        "plates",
        "found",
        "photographs",
        "candidates",
        "reported",
        *CONFIRM,
    ):
        assert view.locator(f"#{part}").inner_html() == "", part
    assert view.locator("#incident [name=sighting]").input_value() == ""
    assert view.locator("#incident option").evaluate_all("rows => rows.filter(row => /^\\d+:/.test(row.text))") == []


def fulfil(status, body, kind="application/json"):
    return lambda route: route.fulfill(status=status, body=body, content_type=kind)


HALF = json.dumps({"decision": "match", "vehicle": 2, "sighting": 99, "candidates": [{"vehicle": 2}]})
FAILURES = {
    "413": (fulfil(413, '{"detail": "the request is over"}'), "the request is over"),
    "415": (fulfil(415, '{"detail": "no picture"}'), "no picture"),
    "422": (fulfil(422, '{"detail": "unknown field"}'), "unknown field"),
    "503": (fulfil(503, '{"detail": "too many"}'), "too many"),
    "500": (fulfil(500, "Internal Server Error", "text/plain"), "the register failed (status 500)"),
    "502 of a proxy": (fulfil(502, "<html>Bad Gateway</html>", "text/html"), "the register failed (status 502)"),
    "no answer": (lambda route: route.abort(), "the register cannot be reached"),
    "no JSON": (fulfil(200, "<html>", "text/html"), "the answer cannot be read"),
    "half an answer": (fulfil(200, HALF), "the answer cannot be read"),
    "null": (fulfil(200, "null"), "the answer cannot be read"),
}


def test_no_failure_leaves_the_answer_before(page, vehicles):  # noqa: F811
    log_in(page, "guard")
    for name, (failure, said) in FAILURES.items():
        ask(page, vehicles[0][0])
        assert page.locator("#incident [name=sighting]").input_value()
        page.get_by_label("Note").fill("white van")
        page.route("**/api/identify", failure)
        ask(page, vehicles[1][0], wait=False)
        error = page.locator("#error")
        error.get_by_text(said).wait_for()
        assert page.locator("#busy").is_hidden(), name
        nothing_remains(page)
        page.unroute("**/api/identify")
    ask(page, vehicles[1][0])
    assert page.locator("#decision").inner_text().startswith("Resident: CD 34")
    assert page.locator("#error").is_hidden()
    assert page.get_by_label("Note").input_value() == ""


def test_a_query_that_the_service_itself_refuses(page, vehicles, tmp_path):  # noqa: F811
    (tmp_path / "no.jpg").write_bytes(b"nothing")
    log_in(page, "guard")
    ask(page, vehicles[0][0])
    ask(page, tmp_path / "no.jpg", wait=False)
    page.locator("#error").get_by_text("no.jpg: not an image").wait_for()
    nothing_remains(page)


def test_the_answer_before_is_gone_while_another_is_waited_for(page, vehicles):  # noqa: F811
    log_in(page, "guard")
    ask(page, vehicles[0][0])
    held = []

    def hold(route):
        held.append(route)

    page.route("**/api/identify", hold)
    ask(page, vehicles[1][0], wait=False)
    page.locator("#busy").wait_for(state="visible")
    nothing_remains(page)
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    page.locator("#decision").wait_for(state="visible")
    assert page.locator("#decision").inner_text().startswith("Resident: CD 34")


def test_a_time_out_is_said(page, vehicles):  # noqa: F811
    log_in(page, "guard")
    page.get_by_role("button", name="Identify").wait_for()
    page.evaluate("() => { const own = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = () => own(200); }")
    page.route("**/api/identify", lambda _: None)
    ask(page, vehicles[1][0], wait=False)
    page.locator("#error").get_by_text("the register does not answer").wait_for()
    nothing_remains(page)


def test_a_session_that_ended_leads_to_the_log_in_and_back_to_an_empty_page(page, vehicles):  # noqa: F811
    log_in(page, "guard")
    ask(page, vehicles[0][0])
    page.context.clear_cookies()
    ask(page, vehicles[1][0], wait=False)
    page.wait_for_url(re.compile("/login"))
    page.go_back()
    page.wait_for_timeout(300)
    if page.locator("#answer").count():
        nothing_remains(page)
    page.goto("/")
    log_in(page, "guard")
    nothing_remains(page)


def test_back_returns_to_the_own_answer_and_to_nobody_elses(page, vehicles):  # noqa: F811
    log_in(page, "guard")
    ask(page, vehicles[0][0])
    page.get_by_role("link", name="Incidents").click()
    page.wait_for_load_state()  # a page that is still being opened cannot be left backwards
    page.go_back()
    page.locator("#decision").get_by_text("Resident: AB 12, flat 12").wait_for()
    assert page.locator("#incident [name=sighting]").input_value()
    page.reload()
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()
    nothing_remains(page)
    ask(page, vehicles[0][0])
    page.get_by_role("link", name="Incidents").click()
    page.get_by_role("button", name="Log out").click()
    log_in(page, "manager")
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()
    for _ in range(3):
        page.wait_for_load_state()
        page.go_back()
        page.wait_for_timeout(300)
        if page.locator("#answer").count():
            nothing_remains(page)
    assert page.evaluate("JSON.stringify({ ...sessionStorage })").count("AB 12") == 0


def test_a_page_that_the_browser_kept_is_loaded_anew_after_another_session(page):  # noqa: F811
    log_in(page, "guard")
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()
    shown = "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))"
    page.evaluate("window.same = true")
    page.evaluate(shown)
    page.wait_for_timeout(300)
    assert page.evaluate("window.same")
    with page.expect_navigation():
        page.evaluate(f"localStorage.setItem('session', 'another'); {shown}")


def test_an_owner_who_was_shown_is_gone_below_an_error(page):  # noqa: F811
    log_in(page, "manager")
    page.goto("/vehicles/1")
    page.get_by_role("button", name="Show owner").click()
    page.get_by_text("A. Resident").wait_for()
    page.route("**/owner", fulfil(500, "no", "text/plain"))
    page.get_by_role("button", name="Show owner").click()
    page.locator("#error").get_by_text("status 500").wait_for()
    assert page.locator("#owner").is_hidden()
    assert "A. Resident" not in page.content()


def test_a_token_is_revoked_on_its_page(page):  # noqa: F811
    log_in(page, "guard")
    page.get_by_role("link", name="Tokens").wait_for()  # of the page after the log-in
    page.wait_for_function("typeof ask === 'function'")  # its script comes after the page
    made = page.evaluate("ask('POST', '/api/tokens', { label: 'gate camera' })")
    assert made["token"]
    page.get_by_role("link", name="Tokens").click()
    assert "gate camera" in page.inner_text("main")
    page.get_by_role("button", name=re.compile("Revoke token")).click()
    page.get_by_text("There is no token").wait_for()
