"""Run Python programs in processes that have already imported what the programs import.

    python fork_server.py SMALL BARE FAIRSEQ PLUGIN

where each argument is the number of an inherited socket. A short training spends most of its time
on imports. Therefore a server listens at each socket, imports once what its programs import, and
forks for each program that fork_client.py asks for. The server at SMALL has imported what the
scripts of data-prep use of the standard library; the one at BARE, only torch and fairseq, for
programs that must import everything else by themselves; the one at FAIRSEQ, what fairseq's programs
import; and the one at PLUGIN, the plugin as well. The new process leaves the server's loop and runs
the program at the top level of the interpreter, so its exit code, ``sys.excepthook``, ``atexit``
and everything else at its end are those of any program. The servers do not import fairseq_cli,
which sets up logging. When their standard input ends, they kill what they have started, remove
their sockets with the folder, and exit.

Three things differ from a fresh interpreter: the hash seed is the server's, what fairseq logs while
it is imported is not logged again, and hydra remembers what it has parsed.
"""

import atexit
import contextlib
import copy
import gc
import importlib
import inspect
import logging
import marshal
import os
import select
import signal
import socket
import sys
import threading
import types
import warnings
import weakref
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def import_all(*names):
    for name in names:
        importlib.import_module(name)


def import_small():
    """Import what most scripts of data-prep use, all of it from the standard library."""
    import_all("argparse", "hashlib", "http.client", "json", "ssl", "urllib.request")
    import_all("gzip", "lzma", "tarfile", "zipfile", "xml.etree.ElementTree")


def import_fairseq():
    """Import what some fairseq programs, an optimizer's first step and ``floater`` import."""
    import_all("fairseq.trainer", "fairseq.sequence_generator", "hydra", "torch._dynamo")
    import_all("matplotlib.figure", "matplotlib.backends.backend_agg", "sacremoses")
    remember()
    compose("transformer")


def import_plugin():
    """Import the plugin as ``--user-dir`` does, which then finds that this has been done."""
    from fairseq.utils import import_user_module

    import_all("fairseq_floater.cli", "transformers.generation", "transformers.models.auto")
    import_user_module.memo = {str(ROOT / "fairseq_floater")}
    compose("floater_transformer")


def remember():
    """Spare hydra what it repeats for every configuration: parsing and copying all defaults.

    Also spare it reading the source code of its callers.
    """
    from hydra._internal import utils
    from hydra.core.config_store import ConfigStore
    from hydra.core.override_parser.overrides_parser import OverridesParser

    def parse_rule(self, *rule):
        if rule not in parsed:
            parsed[rule] = parse(self, *rule)
        return copy.copy(parsed[rule])

    # To find its caller, it does not need the lines of source around each call, a slow search.
    utils.inspect = types.SimpleNamespace(**{**vars(inspect), "stack": partial(inspect.stack, 0)})
    parsed, parse = {}, OverridesParser.parse_rule
    OverridesParser.parse_rule = parse_rule
    ConfigStore.__deepcopy__ = lambda self, memo: self  # loading from it copies anyway


def compose(arch):
    """Make a configuration as fairseq's programs do, since hydra's first one takes longest."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    with warnings.catch_warnings(action="ignore"):  # a program still gives each warning once
        parser = options.get_training_parser()
        args = options.parse_args_and_arch(parser, ["data", "--arch", arch])
        convert_namespace_to_omegaconf(args)


#: what each server imports in addition to those before it
LEVELS = (
    import_small,
    lambda: import_all("torch", "fairseq"),
    import_fairseq,
    import_plugin,
)


class Server:
    """Forks, and tells each client the number of its process and, when that ends, how it ended."""

    def __init__(self, listener):
        self.listener = listener
        self.clients = {}  # by the number of the process
        self.wake, self.waker = os.pipe()  # the latter is written to when a process ends
        os.set_blocking(self.waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # its launcher gets it, too, and then ends
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)

    def serve(self):
        """Serve requests; return in each new process, with its request and its standard files."""
        while True:
            waiting = [sys.stdin, self.listener, self.wake, *self.clients.values()]
            ready, _, _ = select.select(waiting, [], [])
            for pid, client in self.clients.items():
                if client in ready or sys.stdin in ready:  # the client or the launcher is gone
                    os.kill(pid, signal.SIGKILL)
            if sys.stdin in ready:
                place = Path(self.listener.getsockname())
                with contextlib.suppress(OSError):
                    place.unlink()
                    place.parent.rmdir()  # by the last of the servers
                sys.exit()
            if self.wake in ready:
                os.read(self.wake, 4096)
                self.bury()
            if self.listener in ready:
                client, _ = self.listener.accept()
                # A client that was killed has sent half a request, or none.
                with contextlib.suppress(EOFError, ValueError, OSError):
                    request, files = receive(client)
                    if self.fork(client, request["environment"]) == 0:
                        return request, files
                    for file in files:
                        os.close(file)

    def fork(self, client, environment):
        """Return 0 in the new process. A client that needs a fresh interpreter is sent 'none'."""
        if not starts_equal(environment, os.environ):
            client.sendall(b"none\n")
            return None
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for mine in (self.listener, client, *self.clients.values()):
                mine.close()
            os.close(self.wake)
            os.close(self.waker)
        else:
            self.clients[pid] = client
            client.sendall(b"%d\n" % pid)
        return pid

    def bury(self):
        """Send the exit code of every process that has ended to its client."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with self.clients.pop(ended[0]) as client, contextlib.suppress(OSError):
                    client.sendall(b"%d\n" % os.waitstatus_to_exitcode(ended[1]))


def receive(client):
    """Return a request, and its standard input, output and error."""
    length, files, _, _ = socket.recv_fds(client, 8, 3)
    return marshal.loads(client.recv(int.from_bytes(length), socket.MSG_WAITALL)), files


def starts_equal(environment, other):
    """True if Python, torch and matplotlib find the same in both environments when they start.

    Whether PYTHONPATH names this project's folder makes no difference: it is installed from there.
    """

    def read(variables):
        names = [name for name in variables if name.startswith(("PYTHON", "MPL"))]
        found = {name: variables[name] for name in {*names, "OMP_NUM_THREADS"} & {*variables}}
        folders = found.pop("PYTHONPATH", "").split(os.pathsep)
        return found, [folder for folder in folders if folder not in ("", str(ROOT))]

    return read(environment) == read(other)


def become(request, files):
    """Make this process the one that was asked for."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # Python seeds its own generator by itself
    if Path(sys.argv[0]).name == "fairseq-train":
        # It sets up logging before it imports fairseq, which does so only if nothing is set up.
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)


def leave(code):
    """End as the interpreter does, but without taking apart everything that was imported.

    That would take longer than most programs of the tests.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # such as a full disk: the interpreter then reports it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)
    sys.exit(code)


def listen(sockets):
    """In a process for each socket, import what belongs to it, and return that socket."""
    for index, import_level in enumerate(LEVELS):
        import_level()
        if index == len(LEVELS) - 1 or os.fork() == 0:
            break
    listener = sockets.pop(index)
    for other in sockets:
        other.close()
    return listener


if __name__ == "__main__":
    logging.disable()
    listener = listen([socket.socket(fileno=int(number)) for number in sys.argv[1:]])
    logging.disable(logging.NOTSET)
    server = Server(listener)
    for finalizer in weakref.finalize._registry:  # slow: there is one for each of torch's operators
        finalizer.atexit = False
    gc.freeze()  # forked processes share these objects as long as nothing touches them
    become(*server.serve())
    program = types.ModuleType("__main__")
    program.__file__ = sys.argv[0]
    this, sys.modules["__main__"] = sys.modules["__main__"], program
    try:
        exec(compile(Path(sys.argv[0]).read_bytes(), sys.argv[0], "exec"), vars(program))
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            leave(ended.code or 0)
        print(ended.code, file=sys.stderr)
        leave(1)
    except Exception as error:
        trace = error.__traceback__.tb_next  # without this file
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        leave(1)
    leave(0)
