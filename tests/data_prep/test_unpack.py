"""What is unpacked from good archives, and that bad ones leave nothing."""

import bz2
import gzip
import io
import lzma
import tarfile
from types import SimpleNamespace

import bounds
import pytest
import unpack as unpacking
from corpora import deb, fails, run, succeeds, tree
from stages import UserError

FILES = {"de-en/train.de": "Guten Tag\n" * 5000, "de-en/dev/one.xml": "<seg>\n", "README": "Read"}
PUBLISHER = "get the archive from its publisher"


def member(name, content="", **fields):
    info = tarfile.TarInfo(name)
    data = content.encode()
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar_bytes(*members):
    """Return an uncompressed tar of FILES and of more members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in [*(member(*item) for item in FILES.items()), *members]:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(archive, content, *options):
    archive.write_bytes(content)
    return run("unpack.py", archive, archive.parent / "out", *options)


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "corpus.tar.gz"


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tar(archive, compress):
    succeeds(unpack(archive, compress(tar_bytes())))
    out = archive.parent / "out"
    assert tree(out) == sorted(FILES)
    assert all((out / name).read_text() == text for name, text in FILES.items())
    assert sorted(path.name for path in archive.parent.iterdir()) == [archive.name, "out"]


def test_single_gz(tmp_path):
    succeeds(unpack(tmp_path / "train.de.gz", gzip.compress(b"Guten Tag\n")))
    assert (tmp_path / "out" / "train.de").read_bytes() == b"Guten Tag\n"


@pytest.mark.parametrize("compress", [bytes, lzma.compress])
def test_deb(tmp_path, compress):
    parts = {"debian-binary": b"2.0\n", "control.tar": b"odd", "data.tar": compress(tar_bytes())}
    succeeds(unpack(tmp_path / "text.deb", deb(parts)))
    assert tree(tmp_path / "out") == sorted(FILES)


def test_only_the_members_asked_for(archive):
    options = ("--member", "de-en/train.*", "--member", "READ*")
    succeeds(unpack(archive, gzip.compress(tar_bytes()), *options))
    assert tree(archive.parent / "out") == ["README", "de-en/train.de"]


def test_links_within_the_folder(archive):
    links = [
        member("de-en/same", type=tarfile.SYMTYPE, linkname="train.de"),
        member("hard", type=tarfile.LNKTYPE, linkname="README"),
    ]
    succeeds(unpack(archive, gzip.compress(tar_bytes(*links))))
    assert (archive.parent / "out/de-en/same").read_text() == FILES["de-en/train.de"]
    assert (archive.parent / "out/hard").read_text() == "Read"


SYMLINK, HARDLINK = tarfile.SYMTYPE, tarfile.LNKTYPE
ESCAPES = {
    "absolute": ([member("/evil")], "'/evil' has an absolute path"),
    "dots": ([member("../evil")], "'../evil' leads out of the folder"),
    "inner dots": ([member("a/../../evil")], "'a/../../evil' leads out of the folder"),
    "symlink": (
        [member("a", type=SYMLINK, linkname="../..")],
        "'a' links to '../..', leads out of the folder",
    ),
    "absolute symlink": (
        [member("a", type=SYMLINK, linkname="/etc")],
        "'a' links to '/etc', leads out of the folder",
    ),
    "hard link": (
        [member("a", type=HARDLINK, linkname="../../evil")],
        "'a' links to '../../evil', leads out of the folder",
    ),
    "hard link to nothing": (
        [member("a", type=HARDLINK, linkname="b")],
        "'a' links to a missing member",
    ),
    "device": ([member("a", type=tarfile.CHRTYPE)], "'a' is a device or a pipe"),
    "pipe": ([member("a", type=tarfile.FIFOTYPE)], "'a' is a device or a pipe"),
}


@pytest.mark.parametrize("fault", ESCAPES)
def test_what_escapes_is_refused(archive, fault):
    members, message = ESCAPES[fault]
    before = sorted(archive.parent.parent.iterdir())
    done = unpack(archive, gzip.compress(tar_bytes(*members)))
    fails(done, f"{archive}: member {message}: {PUBLISHER}")
    assert list(archive.parent.iterdir()) == [archive]
    assert sorted(archive.parent.parent.iterdir()) == before


def test_a_way_through_links_is_refused(archive):
    """Some versions of tarfile do not notice that a long one leads out of the folder."""
    chain, path = [], ""
    for letter in "abcdefghijklmnop":
        name = f"{path}{'d' * 247}"
        chain += [
            member(name, type=tarfile.DIRTYPE, mode=0o755),
            member(f"{path}{letter}", type=SYMLINK, linkname="d" * 247),
        ]
        path = f"{name}/"
    way = "/".join("abcdefghijklmnop") + "/" + "l" * 254
    chain += [
        member(way, type=SYMLINK, linkname="../" * 16),
        member("escape", type=SYMLINK, linkname=f"{way}/../../.."),
        member("escape/evil", "evil"),
    ]
    before = sorted(archive.parent.parent.iterdir())
    done = unpack(archive, gzip.compress(tar_bytes(*chain)))
    fails(
        done,
        f"{archive}: member {way!r} links to {'../' * 16!r}, leads through a link: {PUBLISHER}",
    )
    assert list(archive.parent.iterdir()) == [archive]
    assert sorted(archive.parent.parent.iterdir()) == before
    links = [
        member("a", type=SYMLINK, linkname="de-en"),
        member("b", type=HARDLINK, linkname="a/train.de"),
    ]
    done = unpack(archive, gzip.compress(tar_bytes(*links)))
    fails(done, f"{archive}: member 'b' links to 'a/train.de', leads through a link: {PUBLISHER}")


WHOLE = tar_bytes()
AT_A_HEADER = 512 + 50176  # the second of FILES begins there
CORRUPT = bytearray(WHOLE)
CORRUPT[AT_A_HEADER + 100 : AT_A_HEADER + 200] = b"x" * 100
FLIPPED = bytearray(gzip.compress(WHOLE))
FLIPPED[-6] ^= 1  # in its checksum
XZ = lzma.compress(WHOLE)
DAMAGED = {
    "tar.gz": (gzip.compress(WHOLE)[:-100], "Compressed file ended before the end"),
    "gz checksum": (bytes(FLIPPED), "CRC check failed"),
    "tar within a file": (WHOLE[:20_000], "unexpected end of data"),
    "tar between files": (WHOLE[:AT_A_HEADER], "it has no end mark at byte 50,688"),
    "tar within a header": (WHOLE[: AT_A_HEADER + 100], "it has no end mark at byte 50,688"),
    "tar with a bad header": (bytes(CORRUPT), "it has no end mark at byte 50,688"),
    "tar.xz": (XZ[: len(XZ) // 2], "Compressed file ended before the end"),
    "no archive": (b"<html>not here</html>", "it is not a tar, gz or deb: truncated header"),
    "nothing": (b"", "it is not a tar, gz or deb: empty file"),
    "deb": (deb({"data.tar.xz": XZ})[:-100], "the file ends within data.tar"),
    "deb without data": (deb({"control.tar.xz": XZ}), "it has no data.tar"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_damage_is_named_and_leaves_nothing(archive, fault):
    content, why = DAMAGED[fault]
    done = unpack(archive, content)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {archive} is damaged ({why}"), done.stderr
    assert done.stderr.endswith("): delete it and run again\n") and done.stderr.count("\n") == 1
    assert list(archive.parent.iterdir()) == [archive]
    succeeds(unpack(archive, gzip.compress(WHOLE)))
    assert tree(archive.parent / "out") == sorted(FILES)


def test_a_single_gz_that_is_cut(tmp_path):
    archive = tmp_path / "train.de.gz"
    fails(
        unpack(archive, gzip.compress(b"Guten Tag\n")[:-4]),
        f"{archive} is damaged (Compressed file ended before the end-of-stream marker was "
        "reached): delete it and run again",
    )
    assert list(tmp_path.iterdir()) == [archive]


def test_other_mistakes_are_one_line(archive):
    done = unpack(archive, gzip.compress(WHOLE), "--member", "*.fr")
    fails(done, f"{archive}: no member matches *.fr: {PUBLISHER}")
    out = archive.parent / "out"
    out.mkdir()
    (out / "mine").write_text("precious")
    fails(
        unpack(archive, WHOLE), f"{out} exists and is not empty: delete it or name another folder"
    )
    assert tree(out) == ["mine"]
    link = archive.parent / "link"
    link.symlink_to("nowhere")
    message = f"{link} is a symbolic link: delete it or name another folder"
    fails(run("unpack.py", archive, link), message)
    gone = archive.parent / "none.tgz"
    message = f"{gone}: No such file or directory: check that it can be read and written"
    fails(run("unpack.py", gone, archive.parent / "new"), message)


@pytest.mark.parametrize("bomb", ["train.de.gz", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.deb"])
def test_what_would_fill_the_disk_is_refused(tmp_path, bomb):
    """Some hundred kilobytes would unpack to 128 MB; any archive may unpack to 67 MB."""
    compress = {"bz2": bz2.compress, "xz": lzma.compress}.get(
        bomb.rpartition(".")[2], gzip.compress
    )
    start = b"" if bomb == "train.de.gz" else compress(member("large", size=128 << 20)[0].tobuf())
    content = start + compress(bytes(1 << 20)) * 128
    if bomb == "a.deb":
        content = deb({"data.tar.gz": content})
    archive = tmp_path / bomb
    bound = "67.1 MB (100 times its size or 67 MB)"
    message = f"{archive}: it would unpack to more than the allowed {bound}: {PUBLISHER}"
    fails(unpack(archive, content), message)
    assert list(tmp_path.iterdir()) == [archive]


def test_what_may_come_out_is_an_option(archive):
    bound = "1.1 MB; --most allows more"
    message = f"{archive}: it would unpack to more than the allowed {bound}: {PUBLISHER}"
    content = tar_bytes(member("large", "x" * (1 << 20)))
    fails(unpack(archive, content, "--most", "0.001"), message)
    assert list(archive.parent.iterdir()) == [archive]
    succeeds(unpack(archive, content, "--most", "0.01"))


def test_a_file_with_holes_counts_whole(archive):
    sparse = tarfile.TarInfo("holes")
    sparse.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "0"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(sparse)
    done = unpack(archive, buffer.getvalue())
    assert "it would unpack to more than the allowed 67.1 MB" in done.stderr
    assert list(archive.parent.iterdir()) == [archive]


def test_links_to_what_is_left_out_do_not_multiply_it(archive, monkeypatch):
    """Each hard link to a member that was not asked for would be a copy of it."""
    monkeypatch.setattr(bounds, "FREE", 1 << 20)
    links = [member(f"link/{number}", type=HARDLINK, linkname="large") for number in range(200)]
    archive.write_bytes(gzip.compress(tar_bytes(member("large", "x" * 100_000), *links)))
    args = SimpleNamespace(
        archive=archive, folder=archive.parent / "out", member=["link/*"], most=1
    )
    with pytest.raises(UserError, match="it would unpack to more than the allowed 1.0 MB"):
        unpacking.run(args)
    assert list(archive.parent.iterdir()) == [archive]


def test_the_members_of_an_archive_are_counted(archive, monkeypatch):
    monkeypatch.setattr(bounds, "MEMBERS", 50)
    archive.write_bytes(tar_bytes(*(member(str(number)) for number in range(50))))
    args = SimpleNamespace(archive=archive, folder=archive.parent / "out", member=[], most=1)
    with pytest.raises(UserError, match="it has more than the 50 members that are allowed"):
        unpacking.run(args)
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.parametrize("size", ["-60", "-5", "1_0", "", "abc"])
def test_a_deb_with_a_member_of_no_size(tmp_path, size):
    """A member of -60 bytes would be read forever."""
    content = bytearray(deb({"control.tar": b"odd"}))
    content[8 + 48 : 8 + 58] = f"{size:10}".encode()
    archive = tmp_path / "text.deb"
    done = unpack(archive, bytes(content))
    fails(done, f"{archive} is damaged (a member has the size {size!r}): delete it and run again")


def test_a_member_of_negative_size(archive):
    """tarfile would go back, and read the members before it forever."""
    content = bytearray(WHOLE)
    content[AT_A_HEADER + 124 : AT_A_HEADER + 136] = tarfile.itn(-512, 12, tarfile.GNU_FORMAT)
    content[AT_A_HEADER + 148 : AT_A_HEADER + 156] = b" " * 8
    total = sum(content[AT_A_HEADER : AT_A_HEADER + 512])
    content[AT_A_HEADER + 148 : AT_A_HEADER + 156] = b"%06o\0 " % total
    message = f"{archive} is damaged (member 'de-en/dev/one.xml' has -512 bytes): delete it"
    fails(unpack(archive, bytes(content)), f"{message} and run again")


def test_a_header_is_not_read_into_memory_whatever_its_size(archive):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    done = unpack(archive, info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    message = f"{archive} is damaged (a header of 4,294,967,296 bytes): delete it and run again"
    fails(done, message)


def test_a_file_where_a_folder_must_be(archive):
    """These are faults of the archive, not of the disk."""
    done = unpack(archive, tar_bytes(member("README/more")))
    assert f"{archive} is damaged (" in done.stderr and done.stderr.count("\n") == 1
    done = unpack(archive, tar_bytes(member("x" * 300)))
    fails(done, f"{archive} is damaged (File name too long): delete it and run again")
    assert list(archive.parent.iterdir()) == [archive]
