"""Images of the service's pages for the documentation: rendered vehicles and invented residents alone.

Run: python -m scripts.simulate experiment=quickstart run_dir=RUN
     python tests/helpers/make_pages.py RUN docs/pages

The register holds vehicles that the run was trained on, so that a short one will do: the figures on the pages say
nothing of its accuracy. The images show a phone of 390 x 844 pixels, and one a desktop. Chinese is set in the font
of the package cvttf-notosanscjk-bold.
"""

import importlib.util
import io
import os
import sys
import tempfile
from collections import defaultdict
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
from PIL import Image

HELPERS = Path(__file__).resolve().parent
sys.path[:0] = [str(HELPERS.parents[1]), str(HELPERS)]

from browsers import chromium  # noqa: E402 - after sys.path
from web_service import FAST, served  # noqa: E402

from app.data.dataset import open_source  # noqa: E402
from app.register.accounts import Accounts, Role  # noqa: E402
from app.register.calibrate_evidence import Rates  # noqa: E402
from app.register.calibrate_own import calibrate_by_register  # noqa: E402
from app.register.detect import Detections, Found, Framed  # noqa: E402
from app.register.identification import Identification  # noqa: E402
from app.register.photos import VehiclePhoto, read_photo  # noqa: E402
from app.register.records import NewOwner  # noqa: E402
from app.synthetic import SceneRenderer  # noqa: E402
from app.web.service import create_app  # noqa: E402
from app.web.state import State  # noqa: E402

PASSWORD = "a long enough password"
VEHICLES = 60
SCENES = range(1, 400)
ANSWER_WIDTH = 330
MOST_HEIGHT = 1400
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}


def main(run: Path, out: Path) -> None:
    """Write the images of all pages."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, closing(Identification(Path(made) / "register", device="cpu")) as held:
        held.active_model.change_to_run(run, "global", "operator")
        photographs = images_by_vehicle(held)
        scene, boxes, plates = scene_of_two(Path(made))
        enrol(held, photographs, scene, boxes)
        calibrate_by_register(held, account="operator", rates=Rates(stranger_rate=0.02))
        calibrate_by_register(held, account="operator", rates=Rates(stranger_rate=0.1))
        accounts = Accounts(held.database, FAST)
        for role in Role:
            accounts.add(role.name, role, PASSWORD, "operator")

        def make_state() -> State:
            state = State(held, run)
            state.accounts = accounts
            state.close = lambda: None  # the register is closed by the caller
            return state

        with served(create_app(make_state)) as port, phone(f"http://127.0.0.1:{port}") as page:
            take_all(page, out, held, photographs, scene, Detections(tuple(found_in(boxes, plates)), (), fills=False))


def images_by_vehicle(identification):
    """Files of the run's training vehicles in visible light, by vehicle."""
    _, recogniser = identification.active_model.current()
    settings = recogniser.settings
    found = defaultdict(list)
    for sample in open_source(settings.data, settings.seed).train():
        if sample.modality == "visible":
            found[sample.pid].append(sample.path)
    return [paths for paths in found.values() if len(paths) >= 3][:VEHICLES]


def scene_of_two(folder):
    """A rendered car park by day with two vehicles well in sight: its file, their boxes and plates."""
    renderer = SceneRenderer(480, seed=7)
    for number in SCENES:
        scene = renderer.scene(number)
        sizes = sorted((box.width * box.height for box in scene.vehicles), reverse=True)
        colours = scene.image.max(axis=2).astype(int) - scene.image.min(axis=2)
        if len(sizes) == 2 and sizes[1] > 80 * 80 and sizes[0] < 250 * 250 and colours.mean() > 12 and scene.plates:
            path = folder / "scene.png"
            cv2.imwrite(str(path), scene.image)
            return path, sorted(scene.vehicles, key=lambda box: -box.width * box.height), scene.plates
    raise SystemExit("no such scene")


def found_in(boxes, plates):
    """The scene's own labels, in place of a detector's."""
    for box in boxes:
        inside = [
            plate
            for plate in plates
            if box.left <= plate.left + plate.width / 2 <= box.left + box.width
            and box.top <= plate.top + plate.height / 2 <= box.top + box.height
        ]
        yield Found(box, 0.99, inside[0] if inside else None)


def enrol(identification, photographs, scene, boxes):
    """Two images of each vehicle, and the scene's nearest one; a third image of each stays for queries."""
    for number, paths in enumerate(photographs):
        owner = NewOwner(f"{'ABCDEFGHIJ'[number % 10]}. Resident", str(number + 1))
        views = [VehiclePhoto(read_photo(path), whole=True) for path in paths[:2]]
        identification.enrol(views, account="operator", owner=owner, plate=f"AB {120 + number}")
    with Image.open(scene) as image:
        box = boxes[0]
        crop = image.crop((int(box.left), int(box.top), int(box.left + box.width), int(box.top + box.height)))
        crop.resize((256, 256)).save(scene.parent / "nearest.png")
    view = VehiclePhoto(read_photo(scene.parent / "nearest.png"), whole=True)
    identification.enrol([view], account="operator", owner=NewOwner("K. Resident", "12"), plate="CD 340")


def fonts(folder):
    """A configuration of fonts: those of this machine, and one that has Chinese."""
    spec = importlib.util.find_spec("cvttf_NotoSansCJK_Bold")
    places = "".join(f"<dir>{place}</dir>" for place in (spec.submodule_search_locations if spec else []))
    path = folder / "fonts.conf"
    path.write_text(f'<fontconfig><include ignore_missing="yes">/etc/fonts/fonts.conf</include>{places}</fontconfig>')
    return path


@contextmanager
def phone(address):
    """A page of a browser, 390 pixels wide."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "FONTCONFIG_FILE": str(fonts(Path(folder)))}
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"], env=environment)
        yield browser.new_page(base_url=address, viewport=PHONE, device_scale_factor=1)
        browser.close()


def log_in(page, name):
    page.context.clear_cookies()
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()


def ask(page, path, **fields):
    page.goto("/")
    with Image.open(path) as image:
        data = io.BytesIO()
        image.convert("RGB").save(data, "PNG")
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": data.getvalue()}
    page.locator("input[name=pictures]").set_input_files([file])
    if fields.get("whole", True):
        page.locator("#identify [name=whole]").check()
    page.locator("#identify button").click()
    page.locator("#decision").wait_for(state="visible")
    load_images(page)


def load_images(page):
    for image in page.locator("main img").all():
        image.evaluate("image => { image.loading = 'eager'; return image.decode(); }")


def take_all(page, out, identification, photographs, scene, detections):
    """Every page in turn."""

    def keep(name):
        page.mouse.move(0, 0)
        save(Image.open(io.BytesIO(page.screenshot(full_page=True))), out / f"{name}.png")

    def keep_screen(name, part="#decision"):
        page.mouse.move(0, 0)
        page.locator(part).evaluate("part => part.scrollIntoView()")
        save(Image.open(io.BytesIO(page.screenshot())), out / f"{name}.png")

    page.goto("/login")
    keep("log-in")
    log_in(page, "guard")
    named = [paths for number, paths in enumerate(photographs, 1) if names_it(identification, paths[2], number)]
    if len(named) < 3:
        raise SystemExit(f"the network names {len(named)} of {len(photographs)} vehicles: train it longer")
    ask(page, named[0][2])
    page.get_by_role("button", name="Right", exact=True).click()
    page.locator("#confirmed").wait_for()
    keep_screen("identify")
    page.set_viewport_size(DESKTOP)
    keep_screen("identify-desktop")
    page.set_viewport_size(PHONE)
    page.get_by_label("Note").fill("since this morning")
    page.get_by_role("button", name="Report incident").click()
    page.get_by_text("was reported").wait_for()
    page.goto("/incidents")
    keep("incidents")
    page.goto("/sightings")
    load_images(page)
    keep("sightings")
    page.locator("main img").first.click()
    page.locator("#said").wait_for()
    load_images(page)
    keep("sighting")
    page.goto("/")
    page.get_by_role("searchbox").fill("AB 12*")
    page.locator("#hits li").first.wait_for()
    keep("search")
    first_screen(page, out, named[1][2])
    night = scene.parent / "night.png"
    with Image.open(named[2][2]) as image:
        image.convert("L").save(night)
    ask(page, night)
    keep_screen("identify-infrared")
    as_found = identification.framing.frame
    identification.framing.frame = lambda photo: Framed(
        replace(photo, vehicle_box=photo.vehicle_box or detections.vehicles[0].box), detections
    )
    ask(page, scene, whole=False)
    keep_screen("identify-boxes")
    identification.framing.frame = as_found
    page.goto("/register")
    keep("refused")
    page.goto("/")
    page.get_by_role("button", name="中文").click()
    page.get_by_role("heading", name="这是谁的车？").wait_for()
    page.emulate_media(color_scheme="dark")
    ask(page, named[1][2])
    keep_screen("identify-chinese")
    page.emulate_media(color_scheme="light")
    log_in(page, "manager")
    for name in ("register", "enrol", "federation"):
        page.goto(f"/{name}")
        load_images(page)
        keep(name)
    page.goto("/vehicles/2")
    keep("vehicle")
    page.goto("/calibration")
    keep("calibration")
    log_in(page, "admin")
    page.goto("/accounts")
    keep("accounts")


def names_it(identification, path, number):
    """Whether a photograph's vehicle is named, and rightly."""
    decision = identification.identify([VehiclePhoto(read_photo(path), whole=True)], account="operator").decision
    return decision.outcome == "match" and decision.vehicle == number


def first_screen(page, out, path):
    """The README's image: the ranked lists that are there, and beside them an answer of today."""
    with Image.open(out / "first-screen.png") as before:
        lists, height = before.convert("RGB").crop((0, 0, 1100, before.height)), before.height
    page.set_viewport_size({"width": ANSWER_WIDTH, "height": height})
    ask(page, path)
    top = page.locator("#decision").evaluate("heading => heading.getBoundingClientRect().top + scrollY")
    clip = {"x": 0, "y": top, "width": ANSWER_WIDTH, "height": height}
    shown = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))).convert("RGB")
    joined = Image.new("RGB", (lists.width + ANSWER_WIDTH, height), "white")
    joined.paste(lists, (0, 0))
    joined.paste(shown, (lists.width, 0))
    save(joined, out / "first-screen.png")
    page.set_viewport_size(PHONE)


def save(image, path):
    """Write a PNG of 256 colours, and no more than `MOST_HEIGHT` of a long page."""
    image.convert("RGB").crop((0, 0, image.width, min(image.height, MOST_HEIGHT))).quantize(256).save(
        path, optimize=True
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
