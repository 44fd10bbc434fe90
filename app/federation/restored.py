"""Restoration of a node from a backup: it begins no attempt that it may have dealt shares for since the backup.

The records of shares are then those of the backup. A server that sends a recorded training message once more would get
shares for another set, and two sets of one attempt open their difference. The nonce of an attempt holds the second at
which it began, and all seals depend on it: a node refuses one that is ahead of its clock, so that whatever it took part
in before the restoration has an earlier time.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

from app.core.files import replacing
from strategies.ciphers.binding import begun_at
from strategies.ciphers.cipher import CipherError

FILE = "restored.json"
CLOCKS = 300
"""Seconds by which a site's clock may be behind the server's, as for Flower."""
_ROTATE = "let the authority `rotate`, apply its archive, and delete that file"
_EARLIEST, _LATEST = 1_577_836_800, 4_102_444_800  # 2020 and 2100, UTC
_BEHIND = 6  # seconds by which the server's may be behind the site's, and one for the fraction


class RestoredError(CipherError):
    """A record of a restoration that is not used; the message names the file and the remedy."""


def mark(folder: Path, now: float) -> Path:
    """Record in a node's folder that it was restored at `now`, seconds since 1970, or later, as an earlier record says;
    the file. Raises RestoredError for a time that no clock of today says."""
    if not _is_plausible(now):
        raise RestoredError(f"this machine's clock is {now:.0f} s from 1970, which cannot be: set it by NTP")
    with suppress(RestoredError):  # of a damaged record nothing is known, and this one is of later
        now = max(now, _restored(folder) or now)
    with replacing(folder / FILE) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"restored": now}), encoding="utf-8")
    return folder / FILE


def require_new(folder: Path, site: str, nonce: str, now: float) -> None:
    """Raise CipherError for an attempt that the node may have begun before it was restored, and for one that is ahead
    of its clock."""
    begun, restored = begun_at(nonce), _restored(folder)
    if begun is not None and begun > now + CLOCKS:
        raise CipherError(
            f"{site} deals no shares for an attempt that begins {begun - now:.0f} s ahead of its clock: set the clocks "
            "of server and site by NTP"
        )
    if restored is not None and (begun is None or begun <= restored + CLOCKS):
        since = _time(restored + CLOCKS)
        raise CipherError(f"{site} was restored from a backup, and deals no shares for an attempt from before {since}")


def seconds_to_wait(folder: Path, now: float) -> float:
    """Seconds until all attempts that begin are new to a node. Raises RestoredError for a damaged record, and for a
    clock that is behind the restoration."""
    restored = _restored(folder)
    if restored is None:
        return 0.0
    if restored > now + CLOCKS:
        raise RestoredError(
            f"{folder / FILE}: this site was restored at {_time(restored)}, and this machine's clock says "
            f"{_time(now)}: set it; if it was wrong then, {_ROTATE}"
        )
    return max(0.0, restored + CLOCKS + _BEHIND - now)


def _restored(folder: Path) -> float | None:
    """When a node was restored; None if it was not."""
    path = folder / FILE
    try:
        restored = json.loads(path.read_text(encoding="utf-8"))["restored"]
        if not _is_plausible(restored):
            raise ValueError(f"restored at {str(restored)[:40]}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RestoredError(f"{path} is damaged, and no share is dealt without it ({error}): {_ROTATE}") from error
    return float(restored)


def _is_plausible(seconds: object) -> bool:
    """Whether it is a time of this project, in seconds since 1970: a number, and no bool, from 2020 to 2099."""
    return type(seconds) in (int, float) and _EARLIEST <= seconds < _LATEST  # type: ignore[operator]


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
