"""Synthetic data set: written once, or iterated over without writing."""

import csv
import os
import shutil
import uuid
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from app.settings.synthetic import SyntheticSettings, folder_name, settings_json
from app.synthetic.projection import draw_pose
from app.synthetic.render import Rendered, Renderer
from app.synthetic.site import PlannedImage, Site, draw_site, plan, time_of
from app.synthetic.vehicle import Vehicle

MANIFEST_COLUMNS = (
    "path", "pid", "camid", "split", "site", "modality", "view", "time",
    "vehicle_left", "vehicle_top", "vehicle_width", "vehicle_height",
    "plate_left", "plate_top", "plate_width", "plate_height", "plate_corners", "plate_text",
)  # fmt: skip
_JPEG_QUALITY = 93


def take(
    renderer: Renderer, settings: SyntheticSettings, site: Site, planned: PlannedImage, vehicle: Vehicle
) -> Rendered:
    """One planned image of `vehicle` at `site`; the same whatever was rendered before."""
    rng = np.random.default_rng([5, settings.seed, *planned.key])
    camera = site.cameras[planned.camera]
    pose = draw_pose(camera, rng)
    return renderer.render(vehicle, camera, pose, rng, plate_hidden=settings.plate_hidden)


def rendered_images(settings: SyntheticSettings) -> Iterator[tuple[PlannedImage, Rendered]]:
    """Every image of the set in the plan's order, rendered on demand."""
    renderer = Renderer(settings.image_size, keep=max(32, settings.cameras_per_site))
    for number, of_site in groupby(plan(settings), lambda planned: planned.site):
        site = draw_site(settings, number)
        for (part, resident), of_vehicle in groupby(of_site, lambda planned: (planned.part, planned.vehicle)):
            vehicle = site.vehicle(part, resident)
            for planned in of_vehicle:
                yield planned, take(renderer, settings, site, planned, vehicle)


def generate(settings: SyntheticSettings, root: Path) -> Path:
    """The folder `root / folder_name(settings)` with `manifest.csv`, `settings.json` and the images.

    An existing folder is complete and is returned at once: the set is written under a temporary name and renamed when
    it is whole, so a crash leaves nothing under the final name, and of two processes that start together one wins and
    the other discards its copy. Raises OSError if the folder cannot be written."""
    folder = root / folder_name(settings)
    if (folder / "manifest.csv").is_file():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    unfinished = root / f".{folder.name}-{uuid.uuid4().hex}"
    try:
        _write(settings, unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            if not (folder / "manifest.csv").is_file():  # not lost to another process: a real failure
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(settings: SyntheticSettings, folder: Path) -> None:
    folder.mkdir()
    (folder / "settings.json").write_text(settings_json(settings) + "\n", encoding="utf-8")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, MANIFEST_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for planned, rendered in rendered_images(settings):
            path = Path(
                f"site{planned.site}", planned.part, f"{planned.pid:05d}_c{planned.camid:03d}_{planned.number:03d}.jpg"
            )
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            encoded = cv2.imencode(".jpg", rendered.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
            (folder / path).write_bytes(encoded.tobytes())
            writer.writerow(manifest_row(settings, planned, rendered, path.as_posix()))
        file.flush()
        os.fsync(file.fileno())


def manifest_row(settings: SyntheticSettings, planned: PlannedImage, rendered: Rendered, path: str) -> dict[str, str]:
    """One line of the manifest; an empty cell means unknown."""
    row = dict.fromkeys(MANIFEST_COLUMNS, "")
    row |= {
        "path": path,
        "pid": str(planned.pid),
        "camid": str(planned.camid),
        "split": planned.split,
        "site": f"site{planned.site}",
        "modality": rendered.modality,
        "view": rendered.view,
        "time": time_of(settings, planned, infrared=rendered.modality == "infrared"),
        "plate_text": rendered.plate_text or "",
    }
    for name, box in (("vehicle", rendered.vehicle_box), ("plate", rendered.plate_box)):
        if box is not None:
            row |= {f"{name}_{side}": f"{value:.2f}" for side, value in box._asdict().items()}
    if rendered.plate_corners is not None:
        row["plate_corners"] = " ".join(f"{value:.2f}" for point in rendered.plate_corners for value in point)
    return row
