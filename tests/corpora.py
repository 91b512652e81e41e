"""Shared code of the tests of data-prep: its programs as a user runs them, and a faulty web server.

This is a pytest plugin. Test modules that use the server name it in ``pytest_plugins``.
(PYTEST_DONT_REWRITE: test modules also import from it before pytest loads it as a plugin.)
"""

import hashlib
import re
import subprocess
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import launching
import pytest
from places import PREP

#: programs that import the plugin or sacremoses, which takes seconds
FORKED = ("squad.py", "race.py", "plain.py")

HIDDEN = ("DATA_MIRROR", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


def environment(**variables):
    """Return the environment, without mirrors and proxies other than those that a test names."""
    every = launching.environment(**variables)
    return {name: every[name] for name in every if name not in HIDDEN or name in variables}


def run(program, *arguments, stdin=None, **variables):
    """Run a program of data-prep, Python or shell, to its end."""
    interpreter = sys.executable
    if program.endswith(".sh"):
        interpreter, variables = "bash", launching.forks_of_bash() | variables
    command = [interpreter, PREP / program, *arguments]
    if program in FORKED:
        variables = launching.forks_of_bash() | variables
        command = ["bash", "-c", 'python "$0" "$@"', *command[1:]]
    return subprocess.run(
        list(map(str, command)),
        input=stdin,
        env=environment(**variables),
        capture_output=True,
        text=not isinstance(stdin, bytes),
        timeout=120,
    )


def succeeds(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(done, message, code=1):
    """Check the exit code, and that the message is the only line on stderr, with no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == f"error: {message}\n"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def deb(members):
    """Return a Debian package, which is an ar archive, with these members by name."""
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        header = f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        parts += [header.encode(), data, b"\n" * (len(data) % 2)]
    return b"".join(parts)


def tree(folder):
    """Return the names of all files in a folder, except those in .stages."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith(".stages/"))


class Site:
    """A web server with files and faults by path, and a record of what was requested and sent."""

    def __init__(self):
        self.files = {}
        self.ranges = True  # whether it supports HTTP ranges
        self.cuts = defaultdict(list)  # bytes after which the next answers break off
        self.errors = defaultdict(list)  # status codes of the next answers
        self.stall = threading.Event()  # an answer that is cut waits for this before it ends
        self.stall.set()
        self.requests = []  # (path, Range header or None)
        self.sent = defaultdict(int)  # bytes of bodies
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()

    def answer(self, handler):
        path, asked = handler.path, handler.headers.get("Range")
        self.requests.append((path, asked))
        status = 200 if path in self.files else 404
        if self.errors[path]:
            status = self.errors[path].pop(0)
        body = self.files.get(path, b"") if status == 200 else b""
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.ranges else 0
        size, headers = len(body), {}
        if status == 200 and start:
            status = 206 if start < size else 416
            part = f"{start}-{size - 1}" if start < size else "*"
            headers = {"Content-Range": f"bytes {part}/{size}"}
            body = body[start:]
        handler.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            handler.send_header(name, value)
        handler.end_headers()
        cut = self.cuts[path].pop(0) if self.cuts[path] else None
        self.sent[path] += len(body[:cut])
        handler.wfile.write(body[:cut])
        if cut is not None:
            self.stall.wait()


@pytest.fixture
def site():
    served = Site()
    yield served
    served.stall.set()
    served.server.shutdown()
    served.server.server_close()
