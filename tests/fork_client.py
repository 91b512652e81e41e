"""Run a Python program in a process of a server that listens in the folder $FORK_SERVER.

    python -IS fork_client.py PROGRAM ARGUMENT...

This stands in for ``python PROGRAM ARGUMENT...``: the program has the same standard files, folder
and environment. The server is the one that has imported what the program will import, or the one
named by $FORK_LEVEL. The client ends as the program does, even if that is by a signal. It passes on
the signals that ask it to end, and if it is killed itself, the server kills the program.

It imports only modules written in C: ``socket`` and ``json`` would take longer than all the rest.
"""

import _signal
import _socket
import marshal
import os
import sys

TESTS = os.path.dirname(os.path.realpath(__file__))
PLUGIN = os.path.join(os.path.dirname(TESTS), "fairseq_floater")
DATA_PREP = os.path.join(os.path.dirname(TESTS), "data-prep")
OURS = "floater pieces.py pytest_worker.py race.py samples.py squad.py weights_id.py".split()
LARGE = ("moses.py", "plain.py")  # the other programs of data-prep import little


def level(program, *arguments):
    """Return the name of the server for a program."""
    name = os.path.basename(program)
    given = dict(zip(arguments, arguments[1:])).get("--user-dir", "")
    # The plugin checks fairseq-interactive's input only if that runs before it is imported.
    ours = given and os.path.abspath(given) == PLUGIN and name != "fairseq-interactive"
    if ours or name in OURS:
        return "plugin"
    small = os.path.dirname(os.path.abspath(program)) == DATA_PREP and name not in LARGE
    return "small" if small else "fairseq"


def ask(connection):
    """Send the server what it is to run."""
    request = {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }
    message = marshal.dumps(request)
    files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)
    connection.sendmsg([len(message).to_bytes(8)], [rights])
    connection.sendall(message)


def end(code):
    """End as a process with this exit code did; codes below 0 are signals."""
    if code < 0:
        if -code != _signal.SIGKILL:
            _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main():
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    name = os.environ.get("FORK_LEVEL") or level(*sys.argv[1:])
    connection.connect(os.path.join(os.environ["FORK_SERVER"], name))
    ask(connection)
    with open(connection.fileno(), closefd=False) as answers:
        started = answers.readline().strip()
        if started == "none":  # this environment needs an interpreter of its own
            os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
        for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
            _signal.signal(number, lambda number, _: os.kill(int(started), number))
        ended = answers.readline().strip()
    if not ended:
        sys.exit("error: the fork server is gone: see its errors above")
    end(int(ended))


main()
