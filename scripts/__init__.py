"""Commands of the project.

Its packages have plain names (`app`, `models`, ...): another one of such a name, found first, is named at the start.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

for _name in ("app", "strategies", "models", "conf"):
    _found = find_spec(_name)
    _folders = list(_found.submodule_search_locations or []) if _found else []
    if str(Path(__file__).parents[1] / _name) not in _folders:
        _other = _folders[0] if _folders else _found.origin if _found else "nothing"
        print(
            f"error: the package {_name} of fed-vehicle-reid is hidden by {_other}; start the command in another "
            "folder, or in an environment of its own",
            file=sys.stderr,
        )
        sys.exit(2)
