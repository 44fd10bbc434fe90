"""Names of the kinds of weather that `app.data.weather` renders."""

from typing import Literal, get_args

Weather = Literal["rain", "night", "fog", "blur", "glare"]
WEATHERS: tuple[Weather, ...] = get_args(Weather)
