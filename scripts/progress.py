"""Progress of a run on standard error: a bar on a terminal, a line a round elsewhere."""

import sys
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Bars for rounds and for the training of comparison models."""

    def __init__(self, rounds: int, val_split: str = "val", headline: str = "mAP") -> None:
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
        self.step_done("rounds", min(number, self.rounds), self.rounds)

    def step_done(self, name: str, done: int, total: int) -> None:
        """Move the bar called `name`."""
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total)
        self.bars.update(self.tasks[name], completed=done)
