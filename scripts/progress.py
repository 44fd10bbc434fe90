"""Progress of a run on standard error: a bar on a terminal, a line a round elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_EVERY_S = 30.0  # between two lines about one thing, where there is no terminal


class Progress:
    """Bars for rounds and for the training of comparison models.

    Args:
        clock: seconds; of the lines that take the place of bars.
    """

    def __init__(
        self,
        rounds: int,
        val_split: str = "val",
        headline: str = "mAP",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rounds = rounds
        self.val_split = val_split
        self.headline = headline
        self.console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bars = Bars(*columns, console=self.console, disable=not self.console.is_terminal)
        self.tasks: dict[str, TaskID] = {}
        self._clock = clock
        self._lines: dict[str, tuple[float, float, bool]] = {}  # beginning, last line, and whether there was one

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bars.stop()

    def round_done(self, line: dict[str, Any]) -> None:
        """Show one line of metrics."""
        number = line["server_round"]
        text = f"round {number}/{self.rounds}" if number <= self.rounds else "final model"
        measures = line["measures"]
        if "loss_total" in measures:
            text += f"  loss {measures['loss_total']:.3f}"
        if f"global_{self.headline}" in measures:
            value = 100 * measures[f"global_{self.headline}"]
            text += f"  global {self.headline} on {self.val_split} {value:.1f} %"
        text += f"  {line['seconds']:.1f} s"
        for row in line["left_out"]:
            text += f"\n  left out {row['client']}: {row['reason']}"
        print(text, file=sys.stderr, flush=True)
        self._move("rounds", min(number, self.rounds), self.rounds)

    def step_done(self, name: str, done: int, total: int) -> None:
        """Move the bar called `name`; without a terminal a line now and then, so that nobody takes it for dead."""
        self._move(name, done, total)
        if not self.console.is_terminal:
            self._tell(name, done, total)

    def _move(self, name: str, done: int, total: int) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total)
        self.bars.update(self.tasks[name], completed=done)

    def _tell(self, name: str, done: int, total: int) -> None:
        """A line at the beginning (0 done), every half a minute, and at the end of what had one."""
        now = self._clock()
        began, last, shown = self._lines.get(name, (now, now, False))
        due = done == 0 or now - last >= _EVERY_S or (shown and done == total)
        self._lines[name] = (began, now, True) if due else (began, last, shown)
        if due:
            text = f"{name}: {done} of {total}"
            print(f"{text}, {now - began:.0f} s" if done else text, file=sys.stderr, flush=True)
