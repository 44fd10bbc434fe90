"""Checks of settings, each with an error that names the key."""

from collections.abc import Sequence

from app.nearest import did_you_mean


class SettingsError(ValueError):
    """A setting that cannot be used; the message names its key."""


def one_of(key: str, value: str, options: Sequence[str]) -> None:
    """Raise SettingsError unless `value` is among `options`."""
    if value not in options:
        raise SettingsError(f"{key} must be one of {', '.join(options)}; got {value!r}{did_you_mean(value, options)}")


def in_range(key: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise SettingsError unless low <= value <= high."""
    if not low <= value <= high:
        limits = f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
        raise SettingsError(f"{key} must be {limits}; got {value:g}")
