"""Limit how much may come out of an archive: a small file must not fill the disk or the memory.

Text compresses to a third or a tenth of its size, and a file made to do harm to a thousandth. An
archive may unpack to a hundred times its size, or to FREE if that is more, but never to more than
``most``.
"""

import io
import os
import tarfile
from typing import BinaryIO

from progress import Progress
from stages import UserError

RATIO = 100  # bytes that may come out per byte of the archive
FREE = 64 << 20  # bytes that may come out of any archive
MOST = 4 << 30  # bytes, by default
MEMBERS = 100_000  # of an archive
HEADER = 1 << 20  # most bytes read at once; the content of members is read in smaller blocks


class Excess(UserError):
    """More than is allowed would come out of an archive."""


class Bounded(io.RawIOBase):
    """A stream that can be read up to a bound, and that seeks as the underlying stream does.

    Args:
        stream: the unpacked content.
        packed: size of the archive, in bytes.
        most: bytes that may come out of an archive of any size.
        progress: where it reports the bytes read.
        option: the flag of the program that sets ``most``, if it has one.
    """

    def __init__(
        self, stream: BinaryIO, packed: int, most: int, progress: Progress, option: str = ""
    ) -> None:
        self.stream, self.progress = stream, progress
        self.bound = min(most, max(FREE, RATIO * packed))
        self.work = 0  # bytes, counted again where the stream goes back, as it does for hard links
        if self.bound < most:
            self.reason = f" ({RATIO} times its size or {FREE / 1e6:,.0f} MB)"
        else:
            self.reason = f"; {option} allows more" if option else ""

    def check(self, size: int) -> None:
        if size > self.bound:
            bound = f"{self.bound / 1e6:,.1f} MB{self.reason}"
            raise Excess(f"it would unpack to more than the allowed {bound}")

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER:
            raise ValueError(f"a header of {size:,} bytes")
        block = self.stream.read(size)
        done = self.stream.tell()
        self.work += len(block)
        self.check(max(done, self.work // 3))
        self.progress.report(done)
        return block

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        here = self.stream.tell()
        if whence != os.SEEK_SET or place < 0:
            raise ValueError(f"a member at byte {place:,}")
        if place < here:
            self.work += place
            return self.stream.seek(place)
        self.check(place)
        while here < place and self.read(min(HEADER, place - here)):
            here = self.stream.tell()
        return self.stream.tell()

    def tell(self) -> int:
        return self.stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class BoundedTar(tarfile.TarFile):
    """A tar that counts its members as it reaches them, even when it only looks for one."""

    def next(self) -> tarfile.TarInfo | None:
        new = self.firstmember is None
        member = super().next()
        if member is None or not new:
            return member
        if len(self.members) > MEMBERS:
            raise Excess(f"it has more than the {MEMBERS:,} members that are allowed")
        if member.size < 0:
            raise tarfile.ReadError(f"member {member.name!r} has {member.size:,} bytes")
        return member
