"""Former name of `scripts.bench.privacy`, kept for other programs."""

import sys
from importlib import import_module

from scripts.command import command

if __name__ == "__main__":
    command(import_module("scripts.bench.privacy").main, sys.argv[1:])
