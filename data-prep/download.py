"""Download from an address to a part of a file, however the server behaves.

A server may break off, be slow, lie about lengths and ranges, or never end. Each of these ends in
an error after a while, and the error names the bound.
"""

import http.client
import io
import re
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from part import Part
from progress import Progress
from stages import UserError, one_line

TRIES = 5  # in a row that bring nothing new
MOST_TRIES = 100  # for one download
WAIT = 0.5  # seconds before the second try; each later one waits twice as long
TIMEOUT = 30  # seconds without a byte
PATIENCE = 60  # seconds until an answer begins, and for each further LEAST bytes of it
LEAST = 1 << 16  # bytes
MOST = 32 << 30  # bytes of a file; the largest of the corpora has 2.6 GB
BLOCK = 1 << 16  # bytes

ELSEWHERE = "check the address, or set DATA_MIRROR"


class Missing(Exception):
    """The server, or the folder, does not have the file."""


class Fault(Exception):
    """Something that may go better on the next try; the message says what."""


class _NoFtp(urllib.request.FTPHandler):
    """Keep an http address from redirecting to an ftp one."""

    def ftp_open(self, req: urllib.request.Request) -> None:
        return None


def check_address(url: str) -> None:
    """Refuse an invalid address before anything is sent."""
    try:
        split = urllib.parse.urlsplit(url)
        split.port  # noqa: B018  raises if it is not a port
        why = "" if split.hostname or split.scheme == "file" else "it names no host"
    except ValueError as error:
        why = str(error)
    if split_by := re.search(r"[^!-~]", url):
        why = f"it has {split_by[0]!r} in it; write %20 for a space, and so on"
    if not url.startswith(("http://", "https://", "file://")):
        why = "it does not begin with http://, https:// or file://"
    if why:
        raise UserError(f"{url!r} is not a valid address: {why}")


@dataclass
class Answer:
    """A file from byte ``start`` on; ``size`` is that of the whole file, or None if unknown."""

    file: BinaryIO
    start: int
    size: int | None


@contextmanager
def _begun_in_time() -> Iterator[None]:
    """Raise Fault if an answer takes too long to begin, even if a byte comes now and then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise Fault(f"the server did not begin to answer in {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    # Repeat every second: where Python cannot raise, as in a destructor, the first one is lost.
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _size_of(url: str, text: str) -> int:
    """Return the number of bytes that a server has announced in ``text``."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        shown = repr(text if len(text) <= 40 else text[:40] + "...")
        raise UserError(f"{url}: the server gives {shown} as the file's length: {ELSEWHERE}")
    if int(text) > MOST:
        bound = f"more than the {MOST:,} that are allowed"
        raise UserError(f"{url}: the server announces {int(text):,} bytes, {bound}: {ELSEWHERE}")
    return int(text)


def _ask(url: str, start: int) -> http.client.HTTPResponse:
    """Send the request and read the headers of the answer."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    opener = urllib.request.build_opener(_NoFtp)
    try:
        with _begun_in_time():
            return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, FileNotFoundError):  # from a file: address
            raise Missing("no such file") from None
        if isinstance(reason, socket.gaierror) and reason.errno != socket.EAI_AGAIN:
            host = urllib.parse.urlsplit(url).hostname
            raise UserError(f"{url}: there is no host {host}: {ELSEWHERE}") from None
        raise
    except (ValueError, OverflowError, http.client.InvalidURL) as error:  # from a redirect
        why = f"it redirects to an invalid address ({one_line(str(error))})"
        raise UserError(f"{url}: {why}: {ELSEWHERE}") from None


def open_at(url: str, start: int) -> Answer:
    """Ask for a file from byte ``start``; the answer may begin earlier."""
    try:
        answer = _ask(url, start)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # the part is all of the file, or more than that
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return Answer(io.BytesIO(), start, start)
            return open_at(url, 0)
        if error.code in (404, 410):
            raise Missing(f"HTTP {error.code}") from None
        if error.code in (301, 302, 303, 307, 308):
            why = f"HTTP {error.code}, it redirects in a loop, too often, or away from http"
            raise UserError(f"{url}: {why}: {ELSEWHERE}") from None
        why = f"HTTP {error.code} {one_line(str(error.reason))}".rstrip()
        if error.code < 500 and error.code not in (408, 429):
            raise UserError(f"{url}: {why}: {ELSEWHERE}") from None
        raise Fault(why) from None
    length = answer.headers.get("Content-Length")
    if getattr(answer, "status", None) == 206:
        given = re.fullmatch(
            r"bytes ([0-9]{1,18})-[0-9]{1,18}/([^/]*)", answer.headers.get("Content-Range", "")
        )
        if start and given and int(given[1]) == start:
            return Answer(answer, start, None if given[2] == "*" else _size_of(url, given[2]))
        answer.close()
        if not start:
            raise Fault("the server sends only a part of the file when asked for all of it")
        return open_at(url, 0)  # the server sent a different part from the one asked for
    return Answer(answer, 0, None if length is None else _size_of(url, length))


def receive(url: str, part: Part, progress: Progress) -> None:
    """Bring ``part`` to the file's full size.

    Raises:
        Fault: if the next try may go better.
        Missing: if there is no such file.
        UserError: if another try would not help.
    """
    answer = open_at(url, part.size)
    with answer.file as file:
        if answer.start < part.size:
            part.restart()
        begun, had = time.monotonic(), part.size
        while block := file.read1(BLOCK):
            part.write(block)
            if part.size > (MOST if answer.size is None else answer.size):
                part.restart()
                bound = f"{MOST:,} bytes that are allowed"
                if answer.size is not None:
                    bound = f"{answer.size:,} bytes that it announced"
                raise UserError(f"{url}: the server sends more than the {bound}: {ELSEWHERE}")
            progress.report(part.size, answer.size)
            if part.size - had >= LEAST:
                begun, had = time.monotonic(), part.size
            elif time.monotonic() - begun > PATIENCE:
                raise Fault(f"{part.size - had:,} bytes in {PATIENCE:g} s are too few")
    if answer.size is not None and part.size < answer.size:
        raise Fault(f"the connection ended at byte {part.size:,} of {answer.size:,}")


def download(url: str, part: Part) -> None:
    """Download to ``part``; after a fault, try again for as long as that brings more."""
    check_address(url)
    progress, tries = Progress(part.name), 0
    for number in range(1, MOST_TRIES + 1):
        begun, had = time.monotonic(), part.size
        try:
            return receive(url, part, progress)
        except Fault as fault:
            why = one_line(str(fault))
        except OSError as error:
            if error.filename == str(part.path):
                raise
            reason = getattr(error, "reason", error)
            why = one_line(str(getattr(reason, "strerror", None) or reason)) or type(error).__name__
        except http.client.HTTPException as error:
            why = one_line(str(error)) or type(error).__name__
        # A trickle is not progress, or else a server could keep us trying forever.
        enough = 1 if time.monotonic() - begun < PATIENCE / 10 else LEAST
        tries = 1 if part.size >= had + enough else tries + 1
        if tries == TRIES or number == MOST_TRIES:
            count = f" (try {number}, the last)" if number == MOST_TRIES else ""
            raise UserError(f"{url}: {why}{count}: check the network, then run again to continue")
        print(f"{part.name}: {why}: trying again", file=sys.stderr, flush=True)
        time.sleep(WAIT * 2 ** (tries - 1))
