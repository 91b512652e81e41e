"""Archives: what is unpacked of good ones, and that nothing is left of bad ones."""

import bz2
import gzip
import io
import lzma
import tarfile

import pytest
from corpora import deb, fails, run, succeeds, tree

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
    """An uncompressed tar of FILES and of more members."""
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
        "'a' links to what is not there",
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
    "tar between files": (WHOLE[:AT_A_HEADER], "it ends without a mark at byte 50,688"),
    "tar within a header": (WHOLE[: AT_A_HEADER + 100], "it ends without a mark at byte 50,688"),
    "tar with a bad header": (bytes(CORRUPT), "it ends without a mark at byte 50,688"),
    "tar.xz": (XZ[: len(XZ) // 2], "Compressed file ended before the end"),
    "no archive": (b"<html>not here</html>", "file could not be opened successfully"),
    "nothing": (b"", "file could not be opened successfully"),
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
    fails(unpack(archive, WHOLE), f"{out} is there and not empty: delete it or name another folder")
    assert tree(out) == ["mine"]
    gone = archive.parent / "none.tgz"
    message = f"{gone}: No such file or directory: check that it can be read and written"
    fails(run("unpack.py", gone, archive.parent / "new"), message)
