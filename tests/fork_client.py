"""Run a Python program in a process of the server that listens at $FORK_SERVER.

    python -IS fork_client.py PROGRAM ARGUMENT...

In place of ``python PROGRAM ARGUMENT...``: with the same standard files, folder and environment. It
ends as the program does, be it by a signal; it hands on the signals that ask for an end, and if it
is killed itself the server kills the program.
"""

import json
import os
import signal
import socket
import sys


def ask(connection):
    """Send what is to be run."""
    request = {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }
    message = json.dumps(request).encode()
    socket.send_fds(connection, [len(message).to_bytes(8)], [0, 1, 2])
    connection.sendall(message)


def end(code):
    """As a process of this exit code; those below 0 are signals."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main():
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile() as answers:
        connection.connect(os.environ["FORK_SERVER"])
        ask(connection)
        started = answers.readline().strip()
        if started == "none":  # with this environment it must be an interpreter of its own
            os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(int(started), number))
        ended = answers.readline().strip()
    if not ended:
        sys.exit("error: the fork server is gone: see its errors above")
    end(int(ended))


main()
