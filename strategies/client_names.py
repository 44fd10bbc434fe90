"""Names of clients: what one may hold, for the server that reads it and for the site that gives it.

Logs, reports and pages name clients beside words of the server's own, such as "the sum" or "node 7"; these hold spaces.
Names of sites with a certificate are narrower still, see `app.deployment.parties`.
"""

import unicodedata

from models.names import is_invisible, mixed_scripts

LONGEST_NAME = 100  # characters
_BETWEEN = ".-_"


def name_fault(name: str) -> str:
    """Why a client cannot have this name, without the name; "" if it can."""
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"has {len(name)} characters; a client's name has 1 to {LONGEST_NAME}"
    of_letters = all(letter in _BETWEEN or unicodedata.category(letter)[0] in "LMN" for letter in name)
    if not of_letters or not name[0].isalnum() or any(map(is_invisible, name)):
        return "holds more than letters, digits, dots, hyphens and underscores, or begins with none of the first two"
    if unicodedata.normalize("NFKC", name) != name:
        return "holds letters in a form that looks like another; write the plain ones"
    return f"{fault}; use one" if (fault := mixed_scripts(name)) else ""
