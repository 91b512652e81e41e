"""Types of values that several commands take."""

import argparse


def at_least_one(text: str) -> int:
    """Return ``text`` as a whole number >= 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return int(text)
