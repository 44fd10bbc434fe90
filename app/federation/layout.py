"""Shared part of the network as the server knows it: its layout, and which values are statistics.

Both come from a network, which takes torch, timm and hundreds of megabytes to build. A server that only adds payloads
needs neither afterwards, so a separate process builds it: `python -m app.federation.layout`, settings in, JSON out.
"""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.settings.load import Settings, settings_from
from models.errors import FedVehicleReidError, NetworkError
from strategies.shared_arrays import SharedLayout

_REFUSED = 3  # exit status for settings from which no network can be built


def shared_part(settings: Settings) -> tuple[SharedLayout, NDArray[np.bool_]]:
    """Layout of the shared arrays, and a mask (size,) of BatchNorm statistics.

    Computed in this process if torch is loaded already. Raises ValueError or OSError naming the part that cannot be
    built."""
    return _read(_describe(settings) if "torch" in sys.modules else _described_elsewhere(settings))


def _describe(settings: Settings) -> dict[str, Any]:
    from app.core.arrays import require_patterns, shared_layout, statistics_names
    from app.tasks import make_task

    task = make_task(settings)
    network = task.build(1, settings.seed, pretrained=False)
    require_patterns(network, settings.federation)
    layout = shared_layout(network, settings.federation, task.heads)
    return {"names": layout.names, "shapes": layout.shapes, "statistics": statistics_names(network, layout)}


def _described_elsewhere(settings: Settings) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__],  # -P: not the `app` package of the folder that Flower was started in
        input=json.dumps(settings.as_dict()),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # Flower runs an app from a folder of its own
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == _REFUSED:
        raise NetworkError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise NetworkError(f"building the network ended with status {done.returncode}: {done.stderr.strip()}")
    described: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return described


def _read(described: dict[str, Any]) -> tuple[SharedLayout, NDArray[np.bool_]]:
    layout = SharedLayout(tuple(described["names"]), tuple(map(tuple, described["shapes"])))
    return layout, layout.marked(described["statistics"])


def _main() -> None:
    try:
        print(json.dumps(_describe(settings_from(json.load(sys.stdin), stored=False))))
    except (FedVehicleReidError, OSError) as error:
        print(" ".join(str(error).splitlines()[:1]), file=sys.stderr)
        sys.exit(_REFUSED)


if __name__ == "__main__":
    _main()
