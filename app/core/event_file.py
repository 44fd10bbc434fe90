"""TensorBoard's event file, written without torch, which a server does not load."""

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventFile:
    """Points of curves in a new `events.out.tfevents.*`.

    Args:
        purge_step: points of this step and later in earlier files of the folder are hidden; None for none.

    Raises ImportError where tensorboard is not installed.
    """

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own imports; a user cannot fix them
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        self._event: Any = event_pb2.Event
        self._summary: Any = summary_pb2.Summary
        self._writer = EventFileWriter(str(folder))
        if purge_step is not None:
            session: Any = event_pb2.SessionLog
            self._add(purge_step, file_version="brain.Event:2")
            self._add(purge_step, session_log=session(status=session.START))

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Write one point of each curve; it is in the file when this returns."""
        points = [self._summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
        self._add(step, summary=self._summary(value=points))
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(self._event(wall_time=time.time(), step=step, **content))
