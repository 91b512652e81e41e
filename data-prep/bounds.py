"""How much may come out of an archive: a small file must not fill the disk or the memory.

Text shrinks to a third or a tenth, and a file made to do harm to a thousandth. What comes out may
be a hundred times as large as the archive, or FREE if that is more, and never more than ``most``.
"""

import io
import os
import tarfile
from typing import BinaryIO

from progress import Progress
from stages import UserError

RATIO = 100  # bytes that come out for each of the archive
FREE = 64 << 20  # bytes that any archive may have
MOST = 4 << 30  # bytes, where nothing else is said
MEMBERS = 100_000  # of an archive
HEADER = 1 << 20  # bytes read at once; the content of members is read in smaller blocks


class Excess(UserError):
    """More than is allowed would come out."""


class Bounded(io.RawIOBase):
    """What comes out of a stream, up to a bound; moves about in it as the stream does."""

    def __init__(self, stream: BinaryIO, packed: int, most: int, progress: Progress) -> None:
        self.stream, self.progress = stream, progress
        self.bound = min(most, max(FREE, RATIO * packed))
        self.work = 0  # bytes, again where the stream goes back, as it does for hard links
        # Where the ratio is what binds, more than ``most`` would not help.
        self.mend = "" if self.bound < most else "; --most allows more"

    def check(self, size: int) -> None:
        if size > self.bound:
            ratio = "" if self.mend else f", {RATIO} times its size or {FREE / 1e6:,.0f} MB,"
            bound = f"{self.bound / 1e6:,.1f} MB{ratio} are allowed{self.mend}"
            raise Excess(f"more would come out of it than the {bound}")

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
    """A tar that counts its members as it comes to them, also where it only looks for one."""

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
