"""Former name of `scripts.register`, which other programs call."""

import os
import sys

from scripts.command import command
from scripts.register import main

if __name__ == "__main__":
    print("scripts.registry is now scripts.register; this name works for one more version", file=sys.stderr)
    os.umask(0o077)
    command(main, sys.argv[1:])
