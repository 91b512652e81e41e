"""A process of pytest's, by ``fork_client.py``: it runs what pytest-xdist sends it."""

import sys

exec(eval(sys.stdin.readline()))  # as execnet has an interpreter of its own do
