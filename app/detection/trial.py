"""Trial of a foreign detector in a process of its own.

A damaged file may end the process that reads it (OpenCV does not check all of a .pbtxt), or ask for any memory or time.
The child gets the files through its standard input and answers with one JSON object in the last line of its output.
"""

import contextlib
import json
import subprocess
import sys
from typing import Any

from app.core.errors import MissingPackageError, StoredFileError
from app.detection.described import DescribedDetector, ForeignNetwork
from app.settings.detector_description import description_from

SECONDS = 120.0
MEMORY = 8 * 2**30  # bytes of address space
COMMAND = (sys.executable, "-m", "app.detection.trial")


def try_apart(foreign: ForeignNetwork) -> None:
    """Let a child run a network once on a blank image.

    Raises StoredFileError if it cannot be computed or does not give what its description says, MissingPackageError
    without ONNX Runtime where that is needed."""
    about = {"form": foreign.form, "name": foreign.name, "description": foreign.description.as_dict()}
    head = json.dumps({**about, "network": len(foreign.network), "graph": len(foreign.graph)}).encode() + b"\n"
    try:
        done = subprocess.run(
            COMMAND, input=head + foreign.network + foreign.graph, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StoredFileError(f"{foreign.name} takes more than {SECONDS:g} s for one image") from error
    answer = _answer(done.stdout)
    if answer is None:
        raise StoredFileError(
            f"{foreign.name} cannot be computed: the process that read it ended with status {done.returncode}"
        )
    if answer.get("package"):
        raise MissingPackageError(answer["package"])
    if answer.get("error"):
        raise StoredFileError(answer["error"])


def _answer(output: bytes) -> dict[str, Any] | None:
    """The object in the last line; None where there is none."""
    lines = output.strip().splitlines()
    with contextlib.suppress(ValueError):
        answer = json.loads(lines[-1] if lines else b"")
        if isinstance(answer, dict):
            return answer
    return None


def main() -> None:
    """The child: read, run once, answer."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    head = json.loads(sys.stdin.buffer.readline())
    network, graph = sys.stdin.buffer.read(head["network"]), sys.stdin.buffer.read(head["graph"])
    description = description_from(head["description"])
    answer = {"error": "", "package": ""}
    try:
        DescribedDetector(ForeignNetwork(head["form"], network, graph, description, head["name"])).try_once()
    except MissingPackageError as error:
        answer["package"] = str(error)
    except StoredFileError as error:
        answer["error"] = str(error)
    print("\n" + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
