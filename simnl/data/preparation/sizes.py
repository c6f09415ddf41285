"""Find out how much an archive holds before anything of it is written, and refuse absurd amounts.

Images are compressed already, so an archive of images is about as large as its content. An archive that says, or turns
out, to hold many times its own size is damaged or means harm.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from simnl.bars import bar as progress_bar

RATIO = 20  # times its own size that an archive may hold; those of the catalogue hold about their own
HARMLESS = 100_000_000  # bytes that any archive may hold: in small ones lists and padding count for more
MEMBERS = 1_000_000  # the largest of the catalogue has some 109,000 (SUN397)
BLOCK = 4096  # bytes that a file takes on the disk at least
STEP = 64 << 20  # bytes read at once: members come in much smaller pieces, a forged header may ask for all of a bomb

OPENERS: dict[bytes, Callable] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # how a zip starts, and one without members


@dataclass(frozen=True)
class Content:
    """What an archive declares: number of members, their bytes, and bytes on a disk that gives whole blocks."""

    members: int
    size: int
    on_disk: int


class Refused(ValueError):
    """An archive that is not unpacked, with its name and the reason in the message."""


class Absurd(Refused):
    """More than an archive of images can hold."""


class DiskError(OSError):
    """The disk is at fault; the message says all of it."""


# The errors of the system that are not the archive's fault: a disk that is full, broken or not to be written.
DISK = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EACCES", "EPERM", "EROFS", "EMFILE", "ENFILE", "ENOENT", "EBUSY", "ESTALE")
    if hasattr(errno, name)
)


@contextmanager
def damage_told(archive: Path) -> Iterator[None]:
    """Whatever the libraries raise on a damaged archive, told as one error that names it.

    They raise some twenty kinds (OverflowError, IndexError, zlib.error, struct.error, ...), by what the damage hits. So
    all that is neither `Refused`, nor an error of the disk counts as damage.

    Raises:
        Refused: the archive cannot be read. OSError: the disk is at fault; as it came.
    """
    try:
        yield
    except (Refused, DiskError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        what = " ".join(str(error).split()) or type(error).__name__
        raise Refused(f"{archive.name} is damaged or no archive ({what}): get it anew, or elsewhere.") from error


def is_zip(archive: Path) -> bool:
    """True for a file whose first bytes are those of a zip file."""
    return _start(archive).startswith(ZIP)


def limit(archive: Path) -> int:
    """Bytes that the archive may hold."""
    return max(HARMLESS, RATIO * archive.stat().st_size)


def require_sane(archive: Path, folder: Path) -> Content:
    """What the archive declares to hold, if that is plausible and there is room for it below `folder`.

    A compressed tar has no list of its members, so it is decompressed once for that, up to the limit.

    Raises:
        Refused: too many bytes or members (`Absurd`), or a size below 0. OSError: too little room. Else what `tarfile`
            and `zipfile` raise, see `damage_told`.
    """
    if is_zip(archive):
        with zipfile.ZipFile(archive) as file:
            content = _sum(archive, (info.file_size for info in file.infolist()))
    else:
        with open_tar(archive) as tar, progress_bar(f"look through {archive.name}", None, "file", delay=2) as bar:
            content = _sum(archive, (member.size for member in tar if bar.update() or True))
    require_space(folder, content.on_disk, f"{archive.name} ({content.members} files)")
    return content


def _sum(archive: Path, sizes: Iterable[int]) -> Content:
    most, members, size, on_disk = limit(archive), 0, 0, 0
    for one in sizes:
        if one < 0:
            raise Refused(f"{archive.name} is damaged: a file in it has {one:,} bytes. Get it anew, or elsewhere.")
        members, size, on_disk = members + 1, size + one, on_disk + max(1, -(-one // BLOCK)) * BLOCK
        if size > most:
            raise absurd(archive, f"{size:,} bytes or more")
        if members > MEMBERS:
            raise absurd(archive, f"more than {MEMBERS:,} files")
    return Content(members, size, on_disk)


def absurd(archive: Path, what: str) -> Absurd:
    """The error of an archive that holds `what`."""
    return Absurd(
        f"{archive.name} ({archive.stat().st_size:,} bytes) is refused and nothing of it is kept: it would unpack to "
        f"{what}, and an archive of images holds at most {RATIO} times its size ({limit(archive):,} bytes). It is "
        "damaged or not the data set's: get it elsewhere, or, if you trust it, unpack it yourself."
    )


def require_space(folder: Path, needed: int, name: str) -> None:
    """Raise `DiskError` unless `needed` bytes are free on the disk of `folder`, which need not be there yet."""
    there = next(above for above in (folder, *folder.parents) if above.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise DiskError(
            f"{name} needs {needed / 1e9:.2f} GB below {folder}, where {free / 1e9:.2f} GB are free. Make room, or "
            "give another --root, and run this again: what is downloaded stays."
        )


@contextmanager
def open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """A tar file, opened such that no more than `limit` is ever decompressed from it.

    Raises:
        tarfile.ReadError: it is none. Absurd: at the byte that is too much, wherever in the archive it is.
    """
    start = _start(archive)
    opener: Callable = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), open)
    with opener(archive, "rb") as stream:
        # A tar has headers and padding beside the content of its files, for small ones more than that.
        bounded = Bounded(stream, archive, None if opener is open else 2 * limit(archive))
        with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:") as tar:
            yield tar


def is_tar(archive: Path) -> bool:
    """Whether it begins as a tar does, compressed or not; of a bomb, no more than the beginning is decompressed."""
    try:
        with damage_told(archive), open_tar(archive):
            return True
    except (Refused, OSError):
        return False


class Bounded:
    """A decompressed stream for `tarfile` that nobody reads far: not beyond byte `most`, not much of it at once.

    `most` None: not compressed, so it ends where the file does.
    """

    def __init__(self, stream: IO[bytes], archive: Path, most: int | None):
        self._stream, self._archive, self._most = stream, archive, most
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        if self._most is not None and size > STEP:
            raise absurd(self._archive, f"a header of {size:,} bytes")
        self._require(self._stream.tell())
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        """Go to a byte; in a compressed stream that decompresses what lies before it."""
        self._require(place)
        return self._stream.seek(place)

    def _require(self, place: int) -> None:
        if self._most is not None and place > self._most:
            raise absurd(self._archive, f"{place:,} bytes or more")


def _start(archive: Path) -> bytes:
    with open(archive, "rb") as file:
        return file.read(8)
