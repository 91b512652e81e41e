"""How far long work is, on standard error."""

import sys
import time

#: seconds between two reports, and before the first
INTERVAL = 5.0


class Progress:
    """Says how much of ``what`` is done, every few seconds; nothing of what is soon done.

    Args:
        what: is done, such as ``encoder: position``.
        total: how many there are.
    """

    def __init__(self, what: str, total: int):
        self.what, self.total = what, total
        self._next = time.monotonic() + INTERVAL

    def reached(self, done: int) -> None:
        """``done`` of them are done."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            print(f"{self.what} {done:,} of {self.total:,}", file=sys.stderr, flush=True)
