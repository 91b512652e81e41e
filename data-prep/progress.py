"""Report the progress of long work: a line on stderr every few seconds."""

import sys
import time

EVERY = 5  # seconds


class Progress:
    """Reports how far the work on ``name`` has come, in megabytes."""

    def __init__(self, name: str, what: str = "") -> None:
        self.name, self.what, self.last = name, what, time.monotonic()

    def report(self, done: int, size: int | None = None) -> None:
        if time.monotonic() - self.last >= EVERY:
            self.last = time.monotonic()
            total = f" of {size / 1e6:,.1f}" if size else ""
            print(
                f"{self.name}: {done / 1e6:,.1f}{total} MB{self.what}", file=sys.stderr, flush=True
            )
