"""Comparison of a site's clock with that of its server, before the site connects.

Run by a site's start.sh: python -m app.deployment.clock HOST:PORT CA_CERTIFICATE [PID]

Flower signs each message of a site with the time, and the server refuses a time 5 seconds ahead of its own clock, or 5
minutes behind; the site's log only says "Invalid timestamp". Ends with status 2 if this clock would be refused, with 3
if the server did not answer: the site waits for it, and `start.sh` runs this once more beside it, with the site's
process id. Then it retries until the server has answered once, or the site has ended.
"""

import datetime
import http.client
import os
import ssl
import sys
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

AHEAD, BEHIND = 5.0, 305.0
"""Seconds from which Flower 1.41 refuses a site."""
_WARN = 2.0
_TIMEOUT = 10.0
_AGAIN_SECONDS = 2.0
_MEND = "set the clocks of all machines by NTP, with chrony for example (docs/deployment.md)"


def seconds_ahead(date: str, before: float, after: float) -> float:
    """How far this clock is ahead of the server's that stamped `date` between `before` and `after`, in seconds.

    `date` is a header of HTTP, in whole seconds. Raises ValueError for another text."""
    stamped = parsedate_to_datetime(date).replace(tzinfo=datetime.UTC).timestamp() + 0.5
    return (before + after) / 2 - stamped


def verdict(ahead: float) -> tuple[str, bool]:
    """Warning about a clock, "" for a correct one, and whether the server refuses it."""
    where = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if ahead >= AHEAD or ahead <= -BEHIND:
        limit = f"{AHEAD:.0f} s ahead" if ahead > 0 else f"{BEHIND:.0f} s behind"
        return f"this machine's clock is {where}, and the server refuses a site from {limit}: {_MEND}", True
    return (f"this machine's clock is {where}: {_MEND}" if abs(ahead) > _WARN else ""), False


def server_date(address: str, certificate: Path, now: Callable[[], float] = time.time) -> tuple[str, float, float]:
    """The server's date, and this machine's time before and after. Raises OSError or HTTPException."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection(host.strip("[]"), int(port), timeout=_TIMEOUT, context=context)
    try:
        connection.connect()
        before = now()
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("date", "")
        return date, before, now()
    finally:
        connection.close()


def main(address: str, certificate: Path, now: Callable[[], float] = time.time) -> int:
    """Report a wrong clock on standard error; returns the exit status, 3 if the server did not answer."""
    try:
        sentence, refused = verdict(seconds_ahead(*server_date(address, certificate, now)))
    except ssl.SSLCertVerificationError as error:
        if "not yet valid" not in str(error):  # the SuperNode reports any other fault
            return 0
        sentence, refused = f"the server's certificate is not yet valid by this machine's clock: {_MEND}", True
    except (FileNotFoundError, PermissionError, http.client.HTTPException, ValueError):  # of the certificate, of a date
        return 0
    except OSError:
        return 3
    if sentence:
        print(sentence, file=sys.stderr, flush=True)
    return 2 if refused else 0


def keep_asking(
    address: str,
    certificate: Path,
    alive: Callable[[], bool],
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Repeat `main` until the server has answered once, or the site has ended; returns the exit status.

    A site whose clock the server refuses ends at once when the server comes up; the reason is still printed."""
    while True:
        ended = not alive()
        status = main(address, certificate, now)
        if status != 3 or ended:
            return status
        sleep(_AGAIN_SECONDS)


if __name__ == "__main__":
    server, authority = sys.argv[1], Path(sys.argv[2])
    if len(sys.argv) > 3:
        site = int(sys.argv[3])
        sys.exit(keep_asking(server, authority, lambda: os.getppid() == site))
    sys.exit(main(server, authority))
