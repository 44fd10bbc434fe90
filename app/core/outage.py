"""Failures of something that is tried again: growing pauses, and one line in the log for each outage."""

import logging

from app.core.printing import shown


class Outage:
    """What is tried, and whether it fails now.

    Args:
        what: begins each line of the log.
        remedy: ends it.
        first, longest: seconds after the first failure, doubled by each further one up to the longest.
    """

    def __init__(self, what: str, log: logging.Logger, remedy: str, first: float, longest: float = 60.0) -> None:
        self.what, self.remedy = what, remedy
        self.pause = 0.0
        self._log, self._first, self._longest = log, first, longest
        self._said = ""

    def failed(self, error: Exception) -> float:
        """Note a failure; seconds until the next try. An error that differs from the last one is logged."""
        self.pause = min(self._longest, max(self._first, 2 * self.pause))
        if (said := shown(error)) != self._said:
            self._said = said
            self._log.warning("%s: %s; %s", self.what, said, self.remedy)
        return self.pause

    def over(self) -> None:
        """Note that it succeeded."""
        if self._said:
            self._log.warning("%s: answers again", self.what)
        self._said, self.pause = "", 0.0
