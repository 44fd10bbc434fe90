"""The page of a vehicle in a real browser: a manager corrects it, on a phone and on a desktop."""

import re

import pytest
from registers import photo
from test_answer_words import browser, pytestmark, url  # noqa: F401 - fixtures
from web_service import WORDS, served

from app.register.corrections import Edit


@pytest.fixture(params=[(390, 844), (1280, 900)], ids=["phone", "desktop"])
def page(request, browser, service):  # noqa: F811
    """A manager who is logged in. An error of a script fails the test."""
    width, height = request.param
    with served(service) as port:
        context = browser.new_context(base_url=f"http://127.0.0.1:{port}", viewport={"width": width, "height": height})
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto("/login")
        page.get_by_label("Name").fill("manager")
        page.get_by_label("Password").fill(WORDS["manager"])
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Register").wait_for()
        yield page
        context.close()
    assert wrong == []


def require_usable(page):
    """Nothing is wider than the window, and every field has a name."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    fields = "main :is(input:not([type=hidden]), select, textarea)"
    unnamed = f"[...document.querySelectorAll('{fields}')].filter(each => !each.labels?.length).length"
    assert page.evaluate(unnamed) == 0


def opened(page, title):
    page.locator("summary", has_text=title).click()


def saved(page, button):
    """Press a button whose answer loads the page anew."""
    with page.expect_navigation():
        page.get_by_role("button", name=button, exact=True).click()


def test_a_manager_corrects_plate_owner_and_images_and_undoes(page, tmp_path):
    page.goto("/vehicles/1")
    for title in ("Plate and note", "Owner", "Images", "Merge with another"):
        opened(page, title)
    require_usable(page)
    page.get_by_label("Plate", exact=True).fill("AB 13")
    page.get_by_label("Note").fill("red <b>")
    saved(page, "Save plate and note")
    assert "Plate: AB 13" in page.inner_text("main")
    assert "red <b>" in page.inner_text("main")
    saved(page, "Undo it")
    assert "Plate: AB 12" in page.inner_text("main")
    opened(page, "Owner")
    assert page.get_by_label("Name of the owner").is_disabled()
    page.get_by_role("button", name="Load the owner's data").click()
    page.get_by_label("Flat of the owner").fill("13")
    assert page.get_by_label("Name of the owner").input_value() == "A. Resident"
    saved(page, "Save owner")
    page.get_by_role("button", name="Show owner").click()
    page.locator("#owner dd", has_text="13").wait_for()
    opened(page, "Images")
    photo(9).image.save(tmp_path / "more.png")
    page.get_by_label("Further photographs").set_input_files(tmp_path / "more.png")
    saved(page, "Add photographs")
    opened(page, "Images")
    page.get_by_label("Image 2 was taken").select_option("infrared")
    saved(page, "Save image 2")
    assert ", infrared" in page.inner_text("figure:nth-of-type(2)")
    opened(page, "Images")
    saved(page, "Remove image 1")
    assert page.locator("figure").count() == 1
    require_usable(page)


def test_an_owner_is_given_a_second_vehicle_and_another_one(page, tmp_path):
    page.goto("/vehicles/2")
    opened(page, "Owner")
    page.get_by_label("What is wrong").select_option("number")
    page.get_by_role("button", name="Save owner").click()
    page.get_by_text("give the number of the owner").wait_for()
    page.get_by_label("Number of the owner").fill("1")
    saved(page, "Save owner")
    opened(page, "Owner")
    page.get_by_label("What is wrong").select_option("new")
    page.get_by_label("Name of the owner").fill("B. Resident")
    saved(page, "Save owner")
    opened(page, "Owner")
    page.get_by_role("link", name=re.compile("Enrol another vehicle of owner")).click()
    page.get_by_text("A further vehicle of owner 2.").wait_for()
    require_usable(page)
    photo(9).image.save(tmp_path / "more.png")
    page.get_by_label("Photographs, best from several sides").set_input_files(tmp_path / "more.png")
    page.get_by_role("button", name="Enrol").click()
    page.wait_for_url("**/vehicles/3")
    page.get_by_role("button", name="Show owner").click()
    page.get_by_text("B. Resident").wait_for()


def test_a_duplicate_is_offered_at_the_enrolment_and_merged(page, tmp_path):
    photo(2).image.save(tmp_path / "again.png")
    page.goto("/enrol")
    page.get_by_label("Photographs, best from several sides").set_input_files(tmp_path / "again.png")
    page.get_by_label("Plate", exact=True).fill("ab12")
    page.get_by_role("button", name="Enrol").click()
    page.get_by_role("button", name="Add these photographs to vehicle 1").wait_for()
    require_usable(page)
    page.get_by_label("Plate", exact=True).fill("AB 17")
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.wait_for_url("**/vehicles/3")
    page.get_by_text("This looks like vehicle 2").wait_for()
    page.get_by_text("This looks like vehicle 1, AB 12: a similar plate").wait_for()
    require_usable(page)
    page.get_by_role("button", name="Merge with vehicle 2").click()
    assert page.get_by_label("Number of the other vehicle").input_value() == "2"
    saved(page, "Merge")
    assert page.locator("figure").count() == 2
    assert "another vehicle was merged into it, by manager" in page.inner_text("main")
    saved(page, "Undo it")
    assert page.locator("figure").count() == 1


def test_photographs_of_a_plate_that_is_there_are_added_to_that_vehicle(page, tmp_path):
    photo(9).image.save(tmp_path / "more.png")
    page.goto("/enrol")
    page.get_by_label("Photographs, best from several sides").set_input_files(tmp_path / "more.png")
    page.get_by_label("Plate", exact=True).fill("AB 12")
    page.get_by_role("button", name="Enrol").click()
    page.get_by_role("button", name="Add these photographs to vehicle 1").click()
    page.wait_for_url("**/vehicles/1")
    assert page.locator("figure").count() == 2


def test_what_another_manager_changed_meanwhile_is_not_overwritten(page, identification):
    page.goto("/vehicles/1")
    identification.corrections.edit(1, Edit(note="blue"), account="another")
    opened(page, "Plate and note")
    page.get_by_label("Note").fill("red")
    page.get_by_role("button", name="Save plate and note").click()
    page.get_by_text("somebody else changed vehicle 1 meanwhile").wait_for()
    assert page.get_by_label("Note").input_value() == "red"
    assert identification.register.vehicle(1).note == "blue"
