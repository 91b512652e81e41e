"""Any server gives the right file, or one line and no file, and an honest one then mends it."""

import hashlib
import random
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass

import download
import fetch
import hostility
import pytest
from hostility import cases
from hypothesis import given
from hypothesis import strategies as st
from stages import UserError

CONTENT = random.Random(2).randbytes(3000)
SIZE = len(CONTENT)
SHA256 = ("sha256", hashlib.sha256(CONTENT).hexdigest())
#: limits on tries and waits; an honest server may take longer than the SHORT ones
SHORT = {"WAIT": 0, "PATIENCE": 0.1, "TIMEOUT": 0.2, "MOST": 10**5, "MOST_TRIES": 9, "LEAST": 500}
LONG = {"WAIT": 0, "PATIENCE": 60, "TIMEOUT": 30, "MOST": 10**5, "MOST_TRIES": 9, "LEAST": 500}

outcomes = Counter()


@dataclass
class Answer:
    """How a server answers one request."""

    status: str = "200"
    length: str = "right"
    range: str = "right"
    content: str = "right"
    pace: str = "at once"
    target: str = "/corpus"

    def send(self, client, asked):
        start = asked if self.range in ("right", "wrong", "another file's") else 0
        body = {
            "right": CONTENT[start:],
            "wrong": bytes(byte ^ 1 for byte in CONTENT[start:]),
            "short": CONTENT[start : SIZE - 700],
            "long": CONTENT[start:] + b"more" * 90,
            "none": b"",
        }[self.content]
        status, lines = self.status, ["Connection: close"]
        if status == "200" and start:
            status = "206"
        if status == "206":
            first = start + (7 if self.range == "wrong" else 0)
            total = SIZE + (50 if self.range == "another file's" else 0)
            lines.append(f"Content-Range: bytes {first}-{SIZE - 1}/{total}")
        if status in ("301", "302", "308"):
            lines.append(f"Location: {self.target}")
        lengths = {"right": len(body), "smaller": len(body) // 2, "larger": len(body) + 300}
        lengths |= {"negative": -5, "no number": "abc", "huge": "9" * 5000, "too large": 10**6}
        if self.length == "chunked":
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        elif self.length == "bad chunks":
            lines.append("Transfer-Encoding: chunked")
            body = b"-5\r\n" + body
        elif self.length != "none":
            lines.append(f"Content-Length: {lengths[self.length]}")
        head = "\r\n".join([f"HTTP/1.1 {status} So\x1b it is", *lines, "", ""]).encode()
        self.send_at_its_pace(client, head, body)

    def send_at_its_pace(self, client, head, body):
        if self.pace == "garbage":
            client.sendall(body[:400])
        elif self.pace == "silence":
            time.sleep(0.25)
        elif self.pace == "cut within the head":
            client.sendall(head[:-9])
        elif self.pace == "drip of the head":
            for byte in head:
                client.sendall(bytes([byte]))
                time.sleep(0.01)
        elif self.pace == "drip":
            client.sendall(head)
            for byte in body:
                client.sendall(bytes([byte]))
                time.sleep(0.01)
        elif self.pace == "endless":
            client.sendall(head)
            for _ in range(1000):
                client.sendall(body or b"x" * 1000)
        elif self.pace == "cut":
            client.sendall(head + body[: len(body) // 3])
        elif self.pace == "cut at once":
            pass
        else:
            client.sendall(head + body)


class Server:
    """Answers the requests of a case in turn; the last answer also goes to all further requests."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}/corpus"
        self.answers = [Answer()]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self.answer, args=[client], daemon=True).start()

    def answer(self, client):
        answers = self.answers
        with client:
            try:
                request = client.recv(4096).decode()
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                _, found, after = request.partition("Range: bytes=")
                answer.send(client, int(after.partition("-")[0]) if found else 0)
            except OSError:  # the client has left
                pass


@pytest.fixture(scope="module")
def server():
    served = Server()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA_MIRROR", "http_proxy", "HTTP_PROXY"):
            patch.delenv(name, raising=False)
        yield served
    served.listener.close()
    if hostility.wanted:
        for (kind, outcome), count in sorted(outcomes.items()):
            print(f"{kind:22} {outcome:10} {count:6}", file=sys.__stderr__)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("servers")


FIELDS = {
    "status": ["200", "206", "301", "302", "308", "304", "403", "404", "410", "416", "429"]
    + ["500", "503", "999"],
    "length": ["none", "smaller", "larger", "negative", "no number", "huge", "too large"]
    + ["chunked", "bad chunks"],
    "range": ["ignored", "wrong", "another file's"],
    "content": ["wrong", "short", "long", "none"],
    "pace": ["cut", "cut", "cut at once", "garbage", "silence", "cut within the head"]
    + ["drip of the head", "drip", "endless"],
}
TARGETS = ["/corpus", "/a b", "file:///etc/passwd", "ftp://127.0.0.1:1/x", "http://[::1", "//:9x/"]
TARGETS += ["http://127.0.0.1:1/", "data:,x", "", "http://127.0.0.1:99999/", "\\"]


@st.composite
def answers(draw):
    """Draw an answer with up to two lies."""
    lies = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=0, max_size=2, unique=True))
    fields = {name: draw(st.sampled_from(FIELDS[name])) for name in lies}
    return Answer(**fields, target=draw(st.sampled_from(TARGETS)))


def fetched(server, path, answers, limits):
    """True if the file came; if not, check that there is one line and no file."""
    server.answers = list(answers)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(download, name, value)
        try:
            fetch.fetch(server.address, path, SHA256)
        except UserError as error:
            line = str(error)
            assert line.isprintable() and line.startswith(server.address), line
            assert ": " in line and len(line) < 500, line
            assert not path.exists()
            (*parts,) = path.parent.iterdir()
            assert len(parts) <= 1 and all(part.stat().st_size <= 10**5 for part in parts)
            return False
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    return True


def kind_of(answers):
    """Return the first lie of a server, for the counts."""
    for answer in answers:
        for name in ("pace", "status", "length", "range", "content"):
            if getattr(answer, name) != getattr(Answer, name):
                return f"{name}: {getattr(answer, name)}"
    return "none"


@cases(150)
@given(st.lists(answers(), min_size=1, max_size=3), st.booleans())
def test_servers(server, place, capsys, answers, honest_then):
    """There is the right file or none; at most two more runs mend what a failure has left."""
    shutil.rmtree(place)
    path = place / "corpus"
    came = fetched(server, path, [*answers, *[Answer()] * honest_then], SHORT)
    outcomes[kind_of(answers), "came" if came else "refused"] += 1
    if not came:
        assert fetched(server, path, [Answer()], LONG) or fetched(server, path, [Answer()], LONG)
    err = capsys.readouterr().err
    assert all(line.isprintable() for line in err.splitlines()), err
