"""Small Bibles: SWORD modules, compressed like the real ones, in Debian packages."""

import io
import lzma
import struct
import tarfile
import zlib

from corpora import deb
from pysword.books import BibleStructure

CONF = """\
[{name}]
DataPath=./modules/texts/ztext/{name}/
ModDrv=zText
SourceType=OSIS
Encoding=UTF-8
BlockType=BOOK
Versification=KJV
"""


def module(name, texts):
    """Return a module's files by path, made from OSIS texts by (book, chapter, verse)."""
    structure = BibleStructure("kjv", ["ot", "nt"])
    files = {f"mods.d/{name}.conf": CONF.format(name=name).encode()}
    for testament, books in structure.get_books().items():
        index = bytearray(10 * (2 + sum(book.size for book in books)))
        block = b""
        for (book, chapter, verse), text in texts.items():
            places = structure.ref_to_indicies([book], [chapter], [verse])
            if testament in places:
                data = text.encode()
                struct.pack_into("<IIH", index, 10 * places[testament][0], 0, len(block), len(data))
                block += data
        packed = zlib.compress(block)
        path = f"modules/texts/ztext/{name}/{testament}.bz"
        sizes = struct.pack("<III", 0, len(packed), len(block))
        files |= {f"{path}v": bytes(index), f"{path}s": sizes, f"{path}z": packed}
    return files


def package(name, texts):
    """Return a Debian package with a module."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in module(name, texts).items():
            info = tarfile.TarInfo(f"./usr/share/sword/{path}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return deb({"debian-binary": b"2.0\n", "data.tar.xz": lzma.compress(buffer.getvalue())})
