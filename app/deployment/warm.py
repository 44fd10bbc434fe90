"""Former name of `app.deployment.fork_server`, for `start.sh` of older sites."""

import sys
from pathlib import Path

from app.deployment.fork_server import main

if __name__ == "__main__":
    print("start.sh is older than the project: renew it with `python -m scripts.federation refresh`", file=sys.stderr)
    main(Path(sys.argv[1]), int(sys.argv[2]))
