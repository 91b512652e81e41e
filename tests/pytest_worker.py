"""A process of pytest, started by ``fork_client.py``, that runs what pytest-xdist sends it."""

import sys

exec(eval(sys.stdin.readline()))  # as execnet does in an interpreter that it starts
