"""The clock of a site against that of its server, before the site connects.

Run by a site's start.sh: python -m app.deployment.clock HOST:PORT CA_CERTIFICATE [PID]

Flower signs each message of a site with the time, and the server refuses one that comes from 5 seconds ahead of its own
clock, or from 5 minutes behind; all that a site's log says of it is "Invalid timestamp". Ends with status 2 if this
clock would be refused, with 3 if the server did not answer: the site waits for it by itself, and `start.sh` runs this
once more beside it, with the site's process id. Then it asks until the server has answered once, or the site has ended.
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
    """What is to be said of a clock, "" for one that is right, and whether the server refuses it."""
    where = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if ahead >= AHEAD or ahead <= -BEHIND:
        limit = f"{AHEAD:.0f} s ahead" if ahead > 0 else f"{BEHIND:.0f} s behind"
        return f"this machine's clock is {where}, and the server refuses a site from {limit}: {_MEND}", True
    return (f"this machine's clock is {where}: {_MEND}" if abs(ahead) > _WARN else ""), False


def server_date(address: str, certificate: Path, now: Callable[[], float] = time.time) -> tuple[str, float, float]:
    """The date that the server gives, and this machine's time before and after. Raises OSError or HTTPException."""
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
    """Say on standard error what is wrong with the clock; the exit status, 3 if the server did not answer."""
    try:
        sentence, refused = verdict(seconds_ahead(*server_date(address, certificate, now)))
    except ssl.SSLCertVerificationError as error:
        if "not yet valid" not in str(error):  # the SuperNode says what else is wrong with it
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
    """`main` again and again until the server has answered once, or the site has ended: the exit status.

    A site whose clock the server refuses ends at once when the server comes up; it is still told why."""
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
