"""Measures of one network on the queries of a split in several kinds of weather."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.core.arrays import Arrays
from app.data.dataset import Source
from app.data.readers.reader import Direction
from app.experiment.baselines import Measures, measure
from app.settings.checks import SettingsError, one_of
from app.settings.load import Settings
from app.settings.weather import WEATHERS
from app.training.checkpoint import network_of

AS_THEY_ARE = "none"
ALL = "all"


def kinds_of(word: str, others: Sequence[str]) -> list[str]:
    """The kinds of `weather=all` or `weather=rain,fog`; none for "".

    Args:
        others: the settings beside it.

    Raises SettingsError for an unknown kind, and for a second one in `data.weather`."""
    if not word:
        return []
    if any(other.lstrip("+").startswith("data.weather=") for other in others):
        raise SettingsError("weather= makes a table of several kinds, data.weather= measures one: give one of the two")
    if word == ALL:
        return list(WEATHERS)
    kinds = list(dict.fromkeys(word.split(",")))
    if ALL in kinds:
        raise SettingsError(f"weather=all has every kind and is given alone; got {word!r}")
    for kind in kinds:
        one_of("weather", kind, (ALL, *WEATHERS))
    return kinds


def weather_rows(
    settings: Settings, arrays: Arrays, source: Source, kinds: Sequence[str], calibration: Sequence[Direction]
) -> dict[str, Measures]:
    """Measures on `data.eval_split` as it is, named "none", and of each of these kinds of weather.

    Args:
        calibration: see `measure`; as it is.

    Raises SettingsError, before anything is measured, where `data.weather` could not be one of the kinds."""
    chosen = {  # checked settings: what data.weather refuses is refused here
        kind: replace(settings, data=replace(settings.data, weather=kind))  # type: ignore[arg-type]
        for kind in (AS_THEY_ARE, *kinds)
    }
    task, network = network_of(arrays, settings)
    rows: dict[str, Measures] = {}
    for kind, each in chosen.items():
        part = replace(source, settings=each.data)
        rows[kind] = measure(task, network, part.evaluation(settings.data.eval_split), calibration)
    return rows


def weather_table(rows: Mapping[str, Measures], names: Sequence[str]) -> str:
    """A plain table, one line a weather, of the first two measures in per cent and of the first one's difference to the
    first line."""
    headline, second = names[:2]
    first = next(iter(rows.values()))[headline]
    lines = [f"{'weather':<8}{headline:>9}{second:>9}{'difference':>12}"]
    for kind, row in rows.items():
        difference = f"{100 * (row[headline] - first):+.2f}" if kind != AS_THEY_ARE else ""
        lines.append(f"{kind:<8}{100 * row[headline]:>9.2f}{100 * row[second]:>9.2f}{difference:>12}".rstrip())
    return "\n".join(lines)
