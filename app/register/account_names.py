"""Names of accounts: what one may hold, and which ones look alike."""

import unicodedata
from collections.abc import Iterable

from app.register.errors import RegisterError
from models.names import is_invisible, look, mixed_scripts

_LONGEST = 64


def checked_name(name: str, held: Iterable[str]) -> str:
    """A name for a new account, without spaces around it. Raises RegisterError for one that holds what no name may,
    letters of scripts that look alike, or that looks like one of those that are `held`."""
    name = name.strip()
    # Names with brackets are those of the command line; one with control characters would forge lines of the trail.
    hidden = not name.isprintable() or any(map(is_invisible, name))
    if not 1 <= len(name) <= _LONGEST or "(" in unicodedata.normalize("NFKC", name) or hidden:
        raise RegisterError(
            f"an account needs a name of at most {_LONGEST} letters, without brackets and control characters"
        )
    if fault := mixed_scripts(name):
        raise RegisterError(f"the name {name!r} {fault}; use one")
    looks = look(name)
    for other in held:
        if other == name:
            raise RegisterError(f"there is an account {name!r} already")
        if look(other) == looks:
            raise RegisterError(f"the name {name!r} looks like that of the account {other!r}; choose another")
    return name
