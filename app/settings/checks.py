"""Checks of settings, each with an error that names the key."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from app.settings.nearest import did_you_mean
from models.errors import FedVehicleReidError

_DEVICE = re.compile(r"(?P<kind>auto|cpu|mps|cuda)(?:(?<=cuda):(?P<number>[0-9]{1,4}))?")
DEVICE_REMEDY = "; device=auto takes the best available"
_MOST_BYTES = 240  # file systems end at 255, and commands add endings such as "-central"


class SettingsError(FedVehicleReidError, ValueError):
    """A setting that cannot be used; the message names its key."""


class NamedFileError(SettingsError):
    """A file or folder that a setting names cannot be used: it is missing, damaged or of another kind.

    The message is for the machine that opened it. A server whose run named the file reads only the key, whatever the
    reason: otherwise a run could probe the files of a site (see `app.federation.outgoing_errors`).

    Args:
        key: of the setting.
    """

    def __init__(self, key: str, reason: object) -> None:
        super().__init__(str(reason) if str(reason).startswith(key) else f"{key}: {reason}")
        self.key = key


@contextmanager
def named_file(key: str) -> Iterator[None]:
    """Raise NamedFileError for any error about the file named by the setting `key`."""
    try:
        yield
    except NamedFileError:
        raise
    except (OSError, ValueError) as error:
        raise NamedFileError(key, error) from error


def require_file_name(key: str, value: str) -> None:
    """Raise SettingsError unless `value` can name a folder below another one, whatever the file system."""
    number = len(value.encode(errors="surrogatepass"))
    wrong = not value.isprintable() or set(value) & set("/\\") or value.strip(" .") != value
    if wrong or not 0 < len(value) <= 100 or number > _MOST_BYTES:
        long = len(value) > 100 or number > _MOST_BYTES
        shown = f"{value[:20]!r}... of {len(value)} characters, {number} bytes" if long else repr(value)
        raise SettingsError(
            f"{key} becomes the name of a folder: 1 to 100 visible characters, at most {_MOST_BYTES} bytes in UTF-8, "
            f"without / and \\, and without a dot or a space at an end; got {shown}"
        )


def one_of(key: str, value: str, options: Sequence[str]) -> None:
    """Raise SettingsError unless `value` is among `options`."""
    if value not in options:
        raise SettingsError(f"{key} must be one of {', '.join(options)}; got {value!r}{did_you_mean(value, options)}")


def require_finite(key: str, value: object) -> None:
    """Raise SettingsError naming the first number inside `value`, dictionaries and lists included, that is infinite or
    NaN: no setting has a meaning for it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            require_finite(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            require_finite(f"{key}[{index}]", inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{key} must be a finite number; got {value:g}")


def require_device(name: str) -> re.Match[str]:
    """A device by name, as `kind` and `number`. Raises SettingsError for a word that is none on any machine."""
    if found := _DEVICE.fullmatch(name):
        return found
    raise SettingsError(f"device must be auto, cpu, cuda, cuda:NUMBER or mps; got {name!r}{DEVICE_REMEDY}")


def require_kept_memory(memory: object, *, keeps: bool) -> None:
    """Raise SettingsError for remembered embeddings that each round would begin without."""
    if memory and not keeps:
        raise SettingsError(
            f"loss.memory={memory} stays with the optimiser's moments from round to round: set "
            "train.keep_optimiser=true, or loss.memory=0"
        )
