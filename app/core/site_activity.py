"""Record of a site's work over all its runs: messages, seconds by part, bytes. It names no image and no vehicle.

`activity.json` in the node's folder, written after each message and read by the site's metrics. A run brings its own
version of this module, and the metrics are of the installed one: further keys are allowed, and another format is named.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, Field

from app.core.errors import StoredFileError
from app.core.files import replacing
from app.core.typed_json import require_shape

KINDS = ("train", "evaluate", "query")
"""Flower's types of messages."""
ANSWERED, REFUSED, UNUSABLE, FAILED = OUTCOMES = ("answered", "refused", "unusable_sum", "failed")
"""Of a message: by the site's policy or the authority's statements, by a sum that no model comes of, by any error."""
PARTS = ("data", "training", "encryption", "measuring", "other", "waiting", "final_model", "queries")
"""Of a site's seconds: the first five of a round, then those between two messages of one run, and other messages."""
_STEPS = {"forward": "training", "backward": "training", "step": "training", "encrypt": "encryption"}
_STEPS |= {"measure": "measuring", "data": "data"}
_FORMAT, _FILE = 1, "activity.json"
_LOCK_SECONDS = 10.0
_LONGEST_WAIT = 86400.0  # a run that is resumed later did not wait


class Activity(BaseModel):
    """The record; all counts are over all runs of the site.

    Args:
        messages: kind -> outcome -> count.
        round_seconds: of the last round, by part.
        run: key of the run of the last message.
        ended: when it was answered, in seconds since 1970.
    """

    format: int = _FORMAT
    messages: dict[str, dict[str, int]] = {}
    seconds: dict[str, float] = {}
    bytes_received: int = Field(default=0, ge=0)
    bytes_sent: int = Field(default=0, ge=0)
    images: int = Field(default=0, ge=0)
    server_round: int = 0
    round_ended: float = 0.0
    round_seconds: dict[str, float] = {}
    run: str = ""
    ended: float = 0.0


@dataclass(frozen=True)
class Done:
    """A message that was handled.

    Args:
        began: in seconds since 1970.
        seconds: that it took.
        measures: of a training, as they go to the server.
    """

    kind: str
    outcome: str
    run: str
    server_round: int
    began: float
    seconds: float
    bytes_received: int
    bytes_sent: int = 0
    measures: Mapping[str, Any] = field(default_factory=dict)


def parts_of(measures: Mapping[str, Any], total: float) -> dict[str, float]:
    """Seconds of a training by part, from a client's measures `seconds_*`; what they leave of `total` is "other"."""
    found = dict.fromkeys(("data", "training", "encryption", "measuring"), 0.0)
    for name, part in _STEPS.items():
        found[part] += float(measures.get(f"seconds_{name}") or 0.0)
    return {**found, "other": max(0.0, total - sum(found.values()))}


def note(node: Path, done: Done) -> None:
    """Add a message to the record. Raises OSError, StoredFileError for a damaged record."""
    node.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(node / f".{_FILE}.lock", _LOCK_SECONDS, fallback_to_soft=False):
        record = read_activity(node)
        with replacing(node / _FILE, sync=False) as temporary:  # counts, which need not outlive a power cut
            temporary.touch(mode=0o600)
            temporary.write_text(_after(record, done).model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_activity(node: Path) -> Activity:
    """The record of a node's folder; an empty one before the first message. Raises StoredFileError."""
    path = node / _FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Activity()
    if not text:  # a power cut
        return Activity()
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoredFileError(f"{path}: not JSON; delete it, and counting begins anew") from error
    if isinstance(values, dict) and values.get("format") != _FORMAT:
        raise StoredFileError(f"{path}: of format {values.get('format')!r}, written by another version of the project")
    return Activity.model_validate(require_shape(path, Activity, values))


def _after(record: Activity, done: Done) -> Activity:
    parts = _parts(done)
    waited = done.began - record.ended
    if record.run == done.run and 0.0 < waited < _LONGEST_WAIT:
        parts["waiting"] = waited
    counted = {kind: dict(outcomes) for kind, outcomes in record.messages.items()}
    outcomes = counted.setdefault(done.kind, {})
    outcomes[done.outcome] = outcomes.get(done.outcome, 0) + 1
    changes: dict[str, Any] = {
        "messages": counted,
        "seconds": {part: record.seconds.get(part, 0.0) + parts.get(part, 0.0) for part in PARTS},
        "bytes_received": record.bytes_received + done.bytes_received,
        "bytes_sent": record.bytes_sent + done.bytes_sent,
        "run": done.run,
        "ended": done.began + done.seconds,
    }
    if done.kind == "train" and done.outcome == ANSWERED:
        changes |= {
            "images": record.images + int(done.measures.get("pictures") or 0),
            "server_round": done.server_round,
            "round_ended": done.began + done.seconds,
            "round_seconds": parts,
        }
    return record.model_copy(update=changes)


def _parts(done: Done) -> dict[str, float]:
    if done.kind == "train":
        return parts_of(done.measures, done.seconds)
    return {"final_model" if done.kind == "evaluate" else "queries": done.seconds}
