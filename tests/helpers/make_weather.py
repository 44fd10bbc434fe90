"""Image for the documentation: rendered vehicles in each kind of weather of `data.weather`.

Run: python tests/helpers/make_weather.py docs/pages/weather.jpg
"""

import sys
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.data.crops import cut_image
from app.data.weather import in_weather
from app.settings.synthetic import SyntheticSettings
from app.settings.weather import WEATHERS
from app.synthetic.dataset import rendered_images

SIDE, EDGE, LABEL = 160, 4, 18
VEHICLES = 3


def main(path: Path) -> None:
    """Write the image: a row a vehicle, a column a weather."""
    settings = SyntheticSettings(image_size=2 * SIDE)
    firsts = (next(images)[1] for _, images in groupby(rendered_images(settings), lambda pair: pair[0].pid))
    rendered = list(islice(firsts, VEHICLES))
    names = ("none", *WEATHERS)
    sheet = Image.new("RGB", (len(names) * (SIDE + EDGE), LABEL + VEHICLES * (SIDE + EDGE)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, kind in enumerate(names):
        draw.text((column * (SIDE + EDGE) + EDGE, 2), kind, fill="black")
        for row, seen in enumerate(rendered):
            image = cut_image(Image.fromarray(seen.image[..., ::-1].copy()), seen.vehicle_box, (SIDE, SIDE))
            if kind != "none":
                image = in_weather(image, kind, np.random.default_rng((row, column)))
            place = (column * (SIDE + EDGE), LABEL + row * (SIDE + EDGE))
            sheet.paste(Image.fromarray(image.numpy().transpose(1, 2, 0)), place)
    sheet.save(path, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
