"""The pages in a real browser, against a real server: what a guard and a manager do, and what a guard may not."""

import re
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from browsers import chromium
from PIL import Image
from registers import photo

from app.register.accounts import Accounts, Role
from app.register.identification import Identification
from app.register.photos import VehiclePhoto, read_photo
from app.register.records import NewOwner

CHROMIUM = chromium()
PASSWORD = "a long enough password"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_chromium")]


@pytest.fixture(scope="module")
def vehicles(tmp_path_factory):
    """Two pictures of each of three vehicles."""
    folder, found = tmp_path_factory.mktemp("vehicles"), []
    for number in range(3):
        image = photo(number, (96, 128)).image
        for view, moved in enumerate((image, image.rotate(2))):
            moved.save(folder / f"{number}-{view}.png")
        found.append([folder / f"{number}-{view}.png" for view in range(2)])
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory, run_folder, vehicles):
    register = tmp_path_factory.mktemp("service") / "register"
    with closing(Identification(register, device="cpu")) as identification:
        identification.active_model.change_to_run(run_folder, "global", "tester")
        owner = NewOwner("A. Resident", "12")
        identification.enrol([VehiclePhoto(read_photo(vehicles[0][0]))], account="tester", owner=owner, plate="AB 12")
        identification.enrol([VehiclePhoto(read_photo(vehicles[1][0]))], account="tester", plate="CD 34")
        accounts = Accounts(identification.database)
        for role in Role:
            accounts.add(role.name, role, PASSWORD, "tester")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["-m", "scripts.serve", "run", "--port", str(port), "--register", str(register), "--device", "cpu"]
    words += ["--run", str(run_folder)]
    server = subprocess.Popen([sys.executable, *words], cwd=Path(__file__).resolve().parents[3])
    try:
        deadline = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """A phone. Whatever leaves for another address, or fails in a script, fails the test."""
    context = browser.new_context(base_url=address, viewport={"width": 390, "height": 844}, device_scale_factor=1)
    page = context.new_page()
    wrong = []
    page.on(
        "request", lambda request: wrong.append(request.url) if not request.url.startswith((address, "blob:")) else None
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
    )
    yield page
    context.close()
    assert wrong == []


def log_in(page, name, password=PASSWORD):
    """Returns when the page after it is loaded: nothing that it still asks for is taken for a request of the test's."""
    page.goto("/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    with page.expect_navigation():
        page.get_by_role("button", name="Log in").click()


def fits(page, name):
    """Nothing is wider than the phone."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name


def test_a_wrong_password_is_said(page):
    log_in(page, "guard", "not the password")
    assert page.get_by_role("alert").inner_text() == "name and password do not belong together"
    fits(page, "log-in")


def test_a_guard_identifies_and_reports(page, vehicles):
    log_in(page, "guard")
    page.get_by_label("Photographs of the vehicle").set_input_files(vehicles[0][0])
    page.get_by_role("button", name="Identify").click()
    decision = page.locator("#decision")
    decision.wait_for(state="visible")
    assert decision.inner_text() == "Resident: AB 12, flat 12"
    assert page.locator("#photographs figcaption").inner_text() == "Treated as taken in visible light"
    assert page.locator("#candidates li").count() == 2
    assert "AB 12" in page.locator("#candidates li").first.inner_text()
    for image in page.locator("main img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        assert image.get_attribute("alt")
    assert "A. Resident" not in page.content()
    fits(page, "identify")
    page.get_by_label("Note").fill("white van <script>")
    page.get_by_role("button", name="Report incident").click()
    page.get_by_text(re.compile(r"Incident \d+ was reported")).wait_for()
    page.get_by_role("link", name="Incidents").click()
    assert "white van <script>" in page.locator("tbody tr").first.inner_text()
    fits(page, "incidents")


def test_the_page_says_which_modality_a_picture_was_taken_for(page, vehicles, tmp_path):
    with Image.open(vehicles[0][0]) as image:
        image.convert("L").save(tmp_path / "night.jpg")
    log_in(page, "guard")
    caption = page.locator("#photographs figcaption")
    for chosen, expected in (("auto", "infrared"), ("visible", "visible light"), ("infrared", "infrared")):
        page.get_by_label("Photographs of the vehicle").set_input_files(tmp_path / "night.jpg")
        page.get_by_label("Taken").select_option(chosen)
        page.get_by_role("button", name="Identify").click()
        caption.get_by_text(f"Treated as taken in {expected}").wait_for()
        if chosen == "auto":
            fits(page, "identify-infrared")


WITH_BOXES = """
const real = window.fetch, near = [8, 10, 64, 48], far = [80, 20, 32, 24];
window.asked = [];
window.fetch = async (path, options) => {
  const response = await real(path, options);
  if (path !== "/api/identify") return response;
  const answer = await response.json(), [photograph] = answer.photographs;
  window.asked.push({ boxes: options.body.getAll("boxes"), box: photograph.box, vehicles: photograph.vehicles,
    width: photograph.width });
  photograph.vehicles = [near, far].map((box) => ({ box, score: 0.9, plate_box: null }));
  photograph.box ??= near;
  photograph.plate_box = [20, 40, 20, 6];
  return new Response(JSON.stringify(answer), { status: response.status });
};
"""


def test_another_vehicle_of_the_photograph_is_a_tap_away(page, vehicles):
    """The boxes found are the test's: how they are found is another matter. The service answers both look-ups."""
    page.add_init_script(WITH_BOXES)
    log_in(page, "guard")
    page.get_by_label("Photographs of the vehicle").set_input_files(vehicles[0][0])
    page.get_by_role("button", name="Identify").click()
    boxes = page.locator("button.box")
    boxes.first.wait_for()
    assert "2 vehicles were found; the marked one was identified" in page.locator("#found").inner_text()
    assert [box.get_attribute("aria-pressed") for box in boxes.all()] == ["true", "false"]
    frame, drawn = page.locator(".photograph").bounding_box(), boxes.nth(1).bounding_box()
    first = page.evaluate("window.asked[0]")
    scale = frame["width"] / first["width"]  # the second box lies 80 pixels of the picture from its left
    assert abs(drawn["x"] - frame["x"] - 80 * scale) < 1.5
    assert abs(drawn["width"] - 32 * scale) < 1.5
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    boxes.nth(1).click()
    page.locator("button.box[aria-pressed=true]", has_text="2").wait_for()
    second = page.evaluate("window.asked[1]")
    assert (first["boxes"], first["box"], first["vehicles"]) == ([], None, None)
    assert (second["boxes"], second["box"]) == (["80,20,32,24"], [80, 20, 32, 24])


def test_a_guard_may_not_see_the_register(page):
    log_in(page, "guard")
    assert page.get_by_role("link", name="Register").count() == 0
    page.goto("/register")
    assert page.get_by_role("alert").inner_text() == "this needs the role manager; yours is guard"
    fits(page, "refused")


def test_a_manager_enrols_looks_up_the_owner_and_forgets(page, vehicles):
    log_in(page, "manager")
    page.get_by_role("link", name="Enrol").click()
    page.get_by_label("Photographs, best from several sides").set_input_files(vehicles[2])
    page.get_by_label("Plate", exact=True).fill("EF 56")
    page.get_by_label("Owner").fill("B. Resident")
    page.get_by_label("Flat").fill("7")
    fits(page, "enrol")
    page.get_by_role("button", name="Enrol").click()
    page.wait_for_url(re.compile(r"/vehicles/\d+$"))
    assert page.locator("figure").count() == 2
    page.get_by_role("button", name="Show owner").click()
    page.get_by_text("B. Resident").wait_for()
    fits(page, "vehicle")
    page.goto("/register")
    assert "EF 56" in page.inner_text("main")
    fits(page, "register")
    page.get_by_role("link", name="EF 56").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Forget this vehicle").click()
    page.wait_for_url("**/register")
    assert "EF 56" not in page.inner_text("main")


def test_a_duplicate_plate_is_said_and_the_form_stays(page, vehicles):
    log_in(page, "manager")
    page.goto("/enrol")
    page.get_by_label("Photographs, best from several sides").set_input_files(vehicles[2][0])
    page.get_by_label("Plate", exact=True).fill("ab-12")
    page.get_by_role("button", name="Enrol").click()
    page.get_by_text("vehicle 1 has this plate already").wait_for()
    assert page.get_by_label("Plate", exact=True).input_value() == "ab-12"


@pytest.mark.parametrize("path", ["calibration", "federation"])
def test_what_a_manager_sees_of_the_model(page, path):
    log_in(page, "manager")
    page.goto(f"/{path}")
    assert page.get_by_role("heading", level=1).inner_text().lower() == path
    fits(page, path)


def test_an_admin_makes_and_disables_an_account(page):
    log_in(page, "admin")
    page.get_by_role("link", name="Accounts").click()
    page.get_by_label("Name").fill("new guard")
    page.get_by_label("Password, ten letters or more").fill(PASSWORD)
    page.get_by_role("button", name="Make account").click()
    page.get_by_role("button", name="Disable new guard").click()
    page.get_by_role("row", name=re.compile("new guard")).get_by_text("disabled").wait_for()
    assert "add account" in page.inner_text("main")
    fits(page, "accounts")


def test_keys_alone_are_enough(page):
    page.goto("/login")
    page.locator("input[name=name]:focus").wait_for()  # the page puts the focus there a moment after it has loaded
    page.keyboard.type("guard")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent || document.activeElement.name"))
    assert {"Identify", "Incidents", "pictures", "Log out"} <= reached


def test_light_and_dark(browser, address):
    grounds = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(base_url=address, color_scheme=scheme)
        page.goto("/login")
        grounds[scheme] = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        page.close()
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(19, 23, 31)"}
