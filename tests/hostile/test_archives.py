"""Any archive gives the right files, or one line and no files, and never leads out."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import shutil
import signal
import sys
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import bounds
import hostility
import pytest
import unpack
from broken_bytes import flipped, overwritten, truncated
from corpora import deb
from hostility import cases
from hypothesis import given
from hypothesis import strategies as st
from stages import report_errors

FILES = {
    "de-en/train.de": "Guten Tag, guten Tag\n" * 90,
    "de-en/dev/one.xml": "<seg>\n",
    "README": random.Random(1).randbytes(1500).hex(),
}
LINKS = [(tarfile.SYMTYPE, "de-en/same", "train.de"), (tarfile.LNKTYPE, "hard", "README")]

outcomes = Counter()


def tar(*members, format=tarfile.GNU_FORMAT):
    """Return a tar of FILES and LINKS, and of more members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, text in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
        for kind, name, target in LINKS:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        for info in members:
            archive.addfile(info, io.BytesIO(b"x" * min(info.size, 1000)))
    return buffer.getvalue()


GOOD = {
    "a.tar": tar(),
    "a.tar.gz": gzip.compress(tar(), mtime=0),
    "a.tar.bz2": bz2.compress(tar()),
    "a.tar.xz": lzma.compress(tar(format=tarfile.PAX_FORMAT)),
    "a.deb": deb(
        {
            "debian-binary": b"2.0\n",
            "control.tar.gz": b"odd",
            "data.tar.xz": lzma.compress(tar()),
        }
    ),
    "train.de.gz": gzip.compress(FILES["README"].encode(), mtime=0),
}


@pytest.fixture(scope="module", autouse=True)
def small_bounds():
    """Lower the bounds, so bombs are quickly made, and restore the signal handlers at the end."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "FREE", 200_000)
        patch.setattr(bounds, "RATIO", 10)
        patch.setattr(bounds, "MEMBERS", 60)
        yield
    for number, handler in zip(numbers, handlers):
        signal.signal(number, handler)
    if hostility.wanted:
        for (kind, outcome), count in sorted(outcomes.items()):
            print(f"{kind:16} {outcome:10} {count:6}", file=sys.__stderr__)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


def contents(folder):
    """Return the contents of a folder's files by path, following links; fail if one leads out."""
    found = {}
    for path in folder.rglob("*"):
        assert Path(os.path.realpath(path)).is_relative_to(folder.resolve()), path
        assert path.is_symlink() or path.is_file() or path.is_dir(), path
        if os.path.isfile(path):  # not a link in a circle
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def unpacked(place, name, content, patterns=()):
    """Return what is unpacked from an archive; None if it gives one line and leaves nothing."""
    shutil.rmtree(place)
    place.mkdir()
    (place / "precious").write_text("mine")
    archive, inner = place / name, place / "inner"
    inner.mkdir()
    archive.write_bytes(content)
    args = SimpleNamespace(
        archive=archive, folder=inner / "out", member=list(patterns), most=1 << 10
    )
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = report_errors(lambda: unpack.run(args))
    assert {path.name for path in place.iterdir()} == {"precious", name, "inner"}
    assert (place / "precious").read_text() == "mine" and archive.read_bytes() == content
    if code == 0:
        assert err.getvalue() == "" and os.listdir(inner) == ["out"]
        return contents(inner / "out")
    assert code == 1 and os.listdir(inner) == []
    line = err.getvalue()
    assert line.startswith(f"error: {archive}") and line[:-1].isprintable(), line
    assert line.endswith((": delete it and run again\n", ": get the archive from its publisher\n"))
    return None


WANTED = {name: text.encode() for name, text in FILES.items()}
WANTED |= {"de-en/same": WANTED["de-en/train.de"], "hard": WANTED["README"]}


def wanted(name):
    return {"train.de": WANTED["README"]} if name == "train.de.gz" else WANTED


def zeroed(good, chance):
    start, size = chance.randrange(len(good)), chance.choice((1, 8, 100, 600))
    return good[:start] + bytes(min(size, len(good) - start)) + good[start + size :]


def left_out(good, chance):
    start, size = chance.randrange(len(good)), chance.choice((1, 8, 512, 1024))
    return good[:start] + good[start + size :]


def another_kind_of_file(good, chance):
    return chance.choice(
        (b"", b"!<arch>\n", b"\x1f\x8b", b"BZh9", b"PK\3\4", b"<html>" * 99, chance.randbytes(900))
    )


DAMAGES = (truncated, flipped, overwritten, zeroed, left_out, another_kind_of_file)


def test_what_is_whole_is_unpacked(place):
    for name, content in GOOD.items():
        assert unpacked(place, name, content) == wanted(name)


@cases(150)
@given(st.sampled_from(sorted(GOOD)), st.sampled_from(DAMAGES), st.integers(0, 2**32))
def test_damage(place, name, damage, seed):
    """Compressed archives have checksums; a plain tar has them for its headers only."""
    found = unpacked(place, name, damage(GOOD[name], random.Random(seed)))
    if found is not None and name != "a.tar":
        assert found == wanted(name)
    outcomes[damage.__name__, "refused" if found is None else "unpacked"] += 1


NAMES = [
    "a",
    "a/b",
    "a/b/c",
    "..",
    "../precious",
    "a/../../x",
    "/etc/x",
    "./a",
    "",
    ".",
    "/",
    "//x",
]
NAMES += ["x" * 300, "a" * 90 + "/b", "\x1b[31m", "b\nc", "ä", "README", "README/x", "de-en"]
NAMES += ["/".join("d" * 120), "hard", "de-en/same", "same/x", "out", "b\0c"]
TYPES = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]
TYPES += [tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"Z", tarfile.GNUTYPE_SPARSE]
NUMBERS = [0, 1, 0o777, 0o4755, 2**31, 2**33, -1, 10**15]


@st.composite
def members(draw):
    info = tarfile.TarInfo(draw(st.sampled_from(NAMES)))
    info.type = draw(st.sampled_from(TYPES))
    info.linkname = draw(st.sampled_from(NAMES))
    info.mode, info.uid = draw(st.sampled_from(NUMBERS[:4])), draw(st.sampled_from(NUMBERS[:5]))
    info.mtime = draw(st.sampled_from(NUMBERS))
    sizes = [0, 1, 1000] if info.type == tarfile.REGTYPE else [0]
    info.size = draw(st.sampled_from(sizes))
    if draw(st.integers(0, 5)) == 0:
        keys = ["size", "path", "linkpath", "mtime", "hdrcharset", "GNU.sparse.map", "x"]
        keys += ["GNU.sparse.size", "GNU.sparse.major"]
        values = ["-512", "1" * 30, "../x", "nan", "1,2,3", "BINARY", "", "ä", "inf"]
        info.pax_headers = {draw(st.sampled_from(keys)): draw(st.sampled_from(values))}
    return info


@cases(120)
@given(st.lists(members(), max_size=5), st.booleans(), st.sampled_from([(), ("*a*",), ("../*",)]))
def test_hostile_members(place, more, pax, patterns):
    """Names and links that lead out, devices, odd types, and fields with odd values."""
    format = tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    try:
        content = tar(*more, format=format)
    except (ValueError, OverflowError):  # tarfile itself does not write it
        return
    found = unpacked(place, "a.tar.gz", gzip.compress(content, 1, mtime=0), patterns)
    outcomes["members", "refused" if found is None else "unpacked"] += 1


def many(chance):
    return tar(*(tarfile.TarInfo(f"x{number}") for number in range(chance.choice((61, 200)))))


def long_header(chance):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, chance.choice((1 << 21, 1 << 33))
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(3 << 20)


def nested_headers(chance):
    info = tarfile.TarInfo("x")
    info.type, info.size = chance.choice((tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE)), 0
    return info.tobuf(tarfile.GNU_FORMAT) * 4000 + bytes(1024)


def large(chance):
    info = tarfile.TarInfo("x")
    info.size = chance.choice((300_000, 1 << 22, 1 << 40))
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 22)


def multiplied(chance):
    first = tarfile.TarInfo("large")
    first.size = 1000
    links = [tarfile.TarInfo(f"a{number}") for number in range(50)]
    for link in links:
        link.type, link.linkname = tarfile.LNKTYPE, "de-en/train.de"
    return tar(*links) + bytes(chance.choice((1 << 19, 1 << 22)))


BOMBS = (many, long_header, nested_headers, large, multiplied)


@cases(30)
@given(st.sampled_from(BOMBS), st.sampled_from([".gz", ".xz", ".bz2"]), st.integers(0, 99))
def test_bombs(place, bomb, suffix, seed):
    compress = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}[suffix]
    if suffix == ".xz":
        compress = lambda content: lzma.compress(content, preset=0)  # noqa: E731
    found = unpacked(place, "a.tar" + suffix, compress(bomb(random.Random(seed))))
    assert found is None
    outcomes["bomb", "refused"] += 1
