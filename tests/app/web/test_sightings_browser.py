"""Sightings and incidents in a real browser: boxes on photographs, reopening, retention."""

from test_pages import (  # noqa: F401 - fixtures
    address,
    browser,
    fits,
    log_in,
    page,
    pytestmark,
    vehicles,
)


def identify(page, file):  # noqa: F811
    page.get_by_label("Photographs of the vehicle").set_input_files(file)
    page.get_by_role("button", name="Identify").click()
    page.locator("#decision").wait_for(state="visible")


def test_a_guard_sees_the_own_sighting_and_a_manager_reopens_its_incident(page, vehicles):  # noqa: F811
    log_in(page, "guard")
    identify(page, vehicles[0][0])
    page.get_by_role("button", name="Report incident").click()
    page.get_by_text("was reported").wait_for()
    page.get_by_role("link", name="Sightings").click()
    page.get_by_label("Answer").select_option("match")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/sightings?day=&decision=match&vehicle=")
    fits(page, "sightings")
    page.locator("main img").first.click()
    page.get_by_role("heading", name="Sighting 1").wait_for()
    assert page.locator("#said").inner_text() == "Named vehicle 1 (AB 12)"
    fits(page, "sighting")
    for image in page.locator("main img").all():
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    image, drawing = page.locator(".photograph img").bounding_box(), page.locator(".photograph svg").bounding_box()
    assert all(abs(image[side] - drawing[side]) < 1 for side in image)  # boxes lie where they belong
    page.get_by_role("button", name="Log out").click()
    log_in(page, "manager")
    page.goto("/incidents?state=open")
    page.get_by_role("button", name="Close incident 1").click()
    page.get_by_text("Nothing was reported that is so.").wait_for()
    page.get_by_label("State").select_option("closed")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("button", name="Reopen incident 1").click()
    page.get_by_text("Nothing was reported that is so.").wait_for()
    page.goto("/incidents")
    page.get_by_role("button", name="Close incident 1").wait_for()
    fits(page, "incidents")


def test_an_admin_sets_the_retention(page):  # noqa: F811
    log_in(page, "admin")
    page.get_by_role("link", name="Sightings").click()
    days = page.get_by_label("Days; empty for ever")
    days.fill("30")
    page.get_by_role("button", name="Keep so").click()
    page.get_by_text("Sightings are kept for 30 days.").wait_for()
    page.reload()
    assert days.input_value() == "30"
    days.fill("")
    page.get_by_role("button", name="Keep so").click()
    page.get_by_text("Sightings are kept for ever.").wait_for()
