"""Run fairseq-train, and kill it inside its NUMBER-th save or copy of a checkpoint.

    python killed_inside.py WHAT NUMBER ARGUMENT...

If WHAT is ``save`` or ``copy``, SIGKILL comes when half of the file is written. If it is
``rename``, SIGKILL comes when the file is complete but not yet in its place.
"""

import io
import os
import shutil
import signal
import sys

import torch
from fairseq_cli import train

what, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
calls = 0


def is_time():
    global calls
    calls += 1
    return calls == number


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(data, file):
    file.write(data[: len(data) // 2])
    file.flush()
    die()


def save(state, file, whole=torch.save):
    if not is_time():
        return whole(state, file)
    buffer = io.BytesIO()
    whole(state, buffer)
    half_written(buffer.getvalue(), file)


def copy(source, file, *length, whole=shutil.copyfileobj):
    if not is_time():
        return whole(source, file, *length)
    half_written(source.read(), file)


def rename(part, path, whole=os.replace):
    if is_time():
        die()
    return whole(part, path)


if what == "save":
    torch.save = save
elif what == "copy":
    shutil.copyfileobj = copy
else:
    os.replace = rename
train.cli_main()
