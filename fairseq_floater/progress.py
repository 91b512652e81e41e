"""Progress of long work, reported on standard error."""

import sys
import time

#: seconds between two reports, and before the first
INTERVAL = 5.0


class Progress:
    """Reports how much of ``what`` is done, every few seconds; short work is not reported.

    Args:
        what: the name of what is counted, such as ``encoder: position``.
        total: how many there are.
    """

    def __init__(self, what: str, total: int):
        self.what, self.total = what, total
        self._next = time.monotonic() + INTERVAL

    def reached(self, done: int) -> None:
        """Report that ``done`` of them are done, if a report is due."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            print(f"{self.what} {done:,} of {self.total:,}", file=sys.stderr, flush=True)
