"""Lying servers, and what others put in a download's place: one line of error, nothing kept."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import download
import fetch
import part
import pytest
from corpora import environment, fails, run
from places import PREP
from stages import UserError

CONTENT = bytes(range(256)) * 1000
SHA256 = ("sha256", hashlib.sha256(CONTENT).hexdigest())
MIRROR = "check the address, or set DATA_MIRROR"


@contextmanager
def answering(*answers):
    """Run a server that answers one client after another, with these bytes or functions."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for number in range(1000):
                try:
                    client, _ = listener.accept()
                except OSError:  # closed
                    return
                answer = answers[min(number, len(answers) - 1)]
                with client:
                    try:
                        client.recv(4096)
                        answer(client) if callable(answer) else client.sendall(answer)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/corpus.tgz"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def head(*lines, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "download" / "corpus.tgz"


@pytest.fixture(autouse=True)
def short_bounds(monkeypatch):
    for name, value in {"WAIT": 0, "PATIENCE": 0.3, "MOST": 10**6, "MOST_TRIES": 20}.items():
        monkeypatch.setattr(download, name, value)
    for name in ("DATA_MIRROR", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def refused(url, file, message, checksum=SHA256):
    """Check that the error is one line with this message, and that nothing is left."""
    with pytest.raises(UserError) as error:
        fetch.fetch(url, file, checksum)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("length", ["abc", "-5", "9" * 5000, "1e3", ""])
def test_a_length_that_is_none(file, length):
    with answering(head(f"Content-Length: {length}") + CONTENT) as url:
        shown = repr(length[:40] + "..." if len(length) > 40 else length)
        refused(url, file, f"{url}: the server gives {shown} as the file's length: {MIRROR}")


def test_a_length_that_is_too_large(file):
    with answering(head("Content-Length: 1000001")) as url:
        bound = "announces 1,000,001 bytes, more than the 1,000,000 that are allowed"
        refused(url, file, f"{url}: the server {bound}: {MIRROR}")


def test_an_answer_without_end(file):
    def forever(client):
        client.sendall(head())
        while True:
            client.sendall(CONTENT)

    with answering(forever) as url:
        bound = "sends more than the 1,000,000 bytes that are allowed"
        refused(url, file, f"{url}: the server {bound}: {MIRROR}")


@pytest.mark.parametrize("start", [b"", head("Content-Length: 256000")])
def test_a_trickle_is_followed_for_so_long_only(file, start):
    """A byte comes now and then, in body or headers, with no silence long enough to notice."""

    def drip(client):
        client.sendall(start)
        while True:
            client.sendall(b"H")
            time.sleep(0.02)

    with answering(drip) as url:
        with pytest.raises(UserError) as error:
            fetch.fetch(url, file, SHA256)
        why = "in 0.3 s are too few" if start else "the server did not begin to answer in 0.3 s"
        assert why in str(error.value)
        assert str(error.value).endswith(": check the network, then run again to continue")


def test_connections_that_bring_a_byte_each(monkeypatch, file):
    """Each brings more, so only the limit on all tries ends them."""
    monkeypatch.setattr(download, "PATIENCE", 60)  # a busy machine must not make them seem slow
    answers = [head(f"Content-Length: {len(CONTENT)}") + CONTENT[:1]] + [
        head(
            f"Content-Range: bytes {at}-255999/256000",
            f"Content-Length: {256000 - at}",
            status="206 Partial Content",
        )
        + CONTENT[at : at + 1]
        for at in range(1, 30)
    ]
    with answering(*answers) as url:
        message = "ended at byte 20 of 256,000 .try 20, the last.: check the network"
        with pytest.raises(UserError, match=message):
            fetch.fetch(url, file, SHA256)
        kept = part.name_of(file, url, SHA256)
        assert kept.read_bytes() == CONTENT[:20]


@pytest.mark.parametrize("given", ["bytes 7-255999/256000", "bytes */256000", "nonsense", None])
def test_another_range_than_was_asked_for(file, given):
    """The file is requested from its beginning, instead of being put together wrongly."""
    cut = head(f"Content-Length: {len(CONTENT)}") + CONTENT[:1000]
    lines = [f"Content-Range: {given}"] if given else []
    wrong = head(*lines, status="206 Partial Content") + CONTENT[7:]
    with answering(cut, wrong, head() + CONTENT) as url:
        fetch.fetch(url, file, SHA256)
    assert file.read_bytes() == CONTENT and list(file.parent.iterdir()) == [file]


def test_redirects_in_a_circle_and_to_elsewhere(file):
    with answering(head("Location: /corpus.tgz", status="302 Found")) as url:
        why = "HTTP 302, it redirects in a loop, too often, or away from http"
        refused(url, file, f"{url}: {why}: {MIRROR}")
    for target in ("file:///etc/passwd", "ftp://127.0.0.1:1/x", "http://[::1", "http://x:99999/"):
        with answering(head(f"Location: {target}", status="302 Found")) as url:
            refused(url, file, url)


@pytest.mark.parametrize("checksum", [None, SHA256])
def test_an_empty_file(file, checksum):
    with answering(head("Content-Length: 0")) as url:
        refused(url, file, f"{url} is empty: the download was deleted, run again", checksum)
    file.touch()
    refused(url, file, f"{file} is empty: it was deleted, run again to download it", checksum)


def test_what_a_server_says_is_shown_as_one_line(file):
    with answering(head(status="403 \x1b[31mNo\x07")) as url:
        refused(url, file, f"{url}: HTTP 403 ?[31mNo?: {MIRROR}")


@pytest.mark.parametrize(
    "url, why",
    [
        ("http:///x", "it names no host"),
        ("http://host:port/x", "Port could not be cast to integer value as 'port'"),
        ("http://host:99999/x", "Port out of range 0-65535"),
        ("http://[::1/x", "Invalid IPv6 URL"),
        ("http://host/a file", "it has ' ' in it; write %20 for a space, and so on"),
        ("host/x", "it does not begin with http://, https:// or file://"),
    ],
)
def test_what_is_no_address(file, url, why):
    file.parent.mkdir()
    refused(url, file, f"{url!r} is not a valid address: {why}")


def test_what_is_no_address_on_the_command_line(file):
    message = (
        "'http://host:port/x' is not a valid address: Port could not be cast to integer value as"
    )
    fails(run("fetch.py", "http://host:port/x", file), f"{message} 'port': see --help", code=2)
    assert not file.parent.exists()


def test_an_unknown_host(monkeypatch, file):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    refused(
        "http://none.invalid/x",
        file,
        f"http://none.invalid/x: there is no host none.invalid: {MIRROR}",
    )


def occupy(place, way, other):
    place.parent.mkdir()
    other.write_bytes(b"precious")
    if way == "symbolic link":
        place.symlink_to(other)
    elif way == "hard link":
        os.link(other, place)
    elif way == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()


@pytest.mark.parametrize("way", ["symbolic link", "hard link", "pipe", "folder"])
def test_what_others_have_put_in_the_place_of_a_part(file, tmp_path, way):
    other = tmp_path / "other"
    with answering(head() + CONTENT) as url:
        place = part.name_of(file, url, SHA256)
        occupy(place, way, other)
        with pytest.raises(UserError, match="delete it and run again") as error:
            fetch.fetch(url, file, SHA256)
        assert str(error.value).startswith(f"{place} is ")
    assert other.read_bytes() == b"precious" and not file.exists()


def test_a_part_is_written_by_one_program(file):
    file.parent.mkdir()
    with part.opened(file, "http://host/x", SHA256) as first:
        with pytest.raises(UserError, match="is being written: wait for the other program"):
            with part.opened(file, "http://host/x", SHA256):
                pass
        first.write(b"mine")
    assert first.path.read_bytes() == b"mine"


def test_a_part_is_bound_to_its_address_and_checksum(file):
    names = {
        part.name_of(file, url, checksum)
        for url in ("http://host/x", "http://host/y")
        for checksum in (None, SHA256, ("md5", SHA256[1]))
    }
    assert len(names) == 6 and {name.parent for name in names} == {file.parent}


def test_a_download_that_is_ended_by_a_signal_goes_on(file):
    stalled = threading.Event()

    def half(client):
        client.sendall(head(f"Content-Length: {len(CONTENT)}") + CONTENT[:100_000])
        stalled.wait()

    rest = (
        head("Content-Range: bytes 100000-255999/256000", status="206 Partial Content")
        + CONTENT[100_000:]
    )
    with answering(half, rest) as url:
        command = [sys.executable, PREP / "fetch.py", url, file, "--sha256", SHA256[1]]
        process = subprocess.Popen(
            list(map(str, command)), env=environment(), stderr=subprocess.PIPE, text=True
        )
        kept = part.name_of(file, url, SHA256)
        deadline = time.monotonic() + 30
        while not (kept.exists() and kept.stat().st_size == 100_000):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[1] == "error: ended by SIGTERM: run again to continue\n"
        assert process.returncode == 128 + signal.SIGTERM
        assert list(file.parent.iterdir()) == [kept]
        stalled.set()
        fetch.fetch(url, file, SHA256)
    assert file.read_bytes() == CONTENT and list(file.parent.iterdir()) == [file]
