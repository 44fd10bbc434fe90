"""Settings of the synthetic data set, and the folder name derived from them."""

import hashlib
import json
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.section import AtLeastOne, Count, Share, section

RENDERER_VERSION = 1  # raise it whenever a pixel or a manifest cell changes for the same settings


@section("data.synthetic")
class SyntheticSettings:
    """Sizes of a synthetic data set.

    Args:
        sites: car parks, each with cameras and residents of its own. Without this key there are as many as
            `federation.num_clients`, and four or more, with `data.partition.by=site`.
        cameras_per_site: at least 2, since a query is matched in another camera.
        infrared_cameras_per_site: how many of the cameras see in near infrared; these are the last ones.
        train_vehicles_per_site, val_vehicles_per_site, test_vehicles_per_site: vehicles; no vehicle is in two splits.
        train_pictures_max: images of a site's most frequent training vehicle.
        train_pictures_min: images of its rarest one.
        eval_pictures_per_vehicle: images of a val or test vehicle, distributed over the site's cameras in turn.
        image_size: side of the square images, pixels.
        plate_hidden: share of the images with the plate hidden by dirt, glare or blur, besides those hidden by
            geometry.
        seed: two sets with one seed agree in every image that both hold.
    """

    sites: AtLeastOne = 4
    cameras_per_site: Annotated[int, Field(ge=2)] = 4
    infrared_cameras_per_site: Count = 0
    train_vehicles_per_site: Count = 30
    val_vehicles_per_site: Count = 6
    test_vehicles_per_site: Count = 15
    train_pictures_max: int = 24
    train_pictures_min: AtLeastOne = 3
    eval_pictures_per_vehicle: Annotated[int, Field(ge=2)] = 6
    image_size: Annotated[int, Field(ge=32)] = 256
    plate_hidden: Share = 0.15
    seed: Count = 0

    def __post_init__(self) -> None:
        if self.infrared_cameras_per_site > self.cameras_per_site:
            raise SettingsError(
                f"data.synthetic.infrared_cameras_per_site must be at most cameras_per_site ({self.cameras_per_site}), "
                f"got {self.infrared_cameras_per_site}"
            )
        if self.train_pictures_min > self.train_pictures_max:
            raise SettingsError(
                f"data.synthetic.train_pictures_min must be at most train_pictures_max ({self.train_pictures_max}), "
                f"got {self.train_pictures_min}"
            )


def settings_json(settings: SyntheticSettings) -> str:
    """The settings and the renderer's version as one line of JSON with sorted keys."""
    return json.dumps({**asdict(settings), "renderer_version": RENDERER_VERSION}, sort_keys=True)


def folder_name(settings: SyntheticSettings) -> str:
    """A folder name unique to the settings and the renderer."""
    digest = hashlib.sha256(settings_json(settings).encode()).hexdigest()
    return f"synthetic-v{RENDERER_VERSION}-{digest[:16]}"


def sites_follow(raw: dict[str, Any]) -> dict[str, Any]:
    """The values with as many synthetic car parks as clients, where neither they nor fewer clients are asked for."""
    data, clients = raw.get("data"), (raw.get("federation") or {}).get("num_clients")
    if not isinstance(data, dict) or data.get("reader") != "synthetic" or type(clients) is not int:
        return raw
    synthetic = data.setdefault("synthetic", {})
    by_site = (data.get("partition") or {}).get("by") == "site"
    if by_site and isinstance(synthetic, dict) and "sites" not in synthetic and clients > SyntheticSettings().sites:
        synthetic["sites"] = clients
    return raw
