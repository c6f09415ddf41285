"""Find out how much an archive holds before anything is written, and refuse absurd amounts.

Images are compressed already, so an archive of images is about as large as its content. An archive that holds many
times its own size, or says so, is damaged or malicious.
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

RATIO = 20  # an archive may hold so many times its own size; the catalogue's hold about their own size
HARMLESS = 100_000_000  # bytes that any archive may hold, because small ones have much padding
MEMBERS = 1_000_000  # files; the largest archive of the catalogue has some 109,000 (SUN397)
BLOCK = 4096  # the least bytes of a file on the disk
STEP = 64 << 20  # bytes read at once; a forged header may ask for more

OPENERS: dict[bytes, Callable] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the first bytes of a zip file, and of an empty one


@dataclass(frozen=True)
class Content:
    """What an archive declares: number of members, their bytes, and bytes on a disk that gives whole blocks."""

    members: int
    size: int
    on_disk: int


class Refused(ValueError):
    """An archive is not unpacked. The message has its name and the reason."""


class Absurd(Refused):
    """An archive holds more than an archive of images can hold."""


class DiskError(OSError):
    """The disk has a problem, which the message explains."""


# Errors of the system that the archive does not cause: a disk that is full, broken or not writable.
DISK = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EACCES", "EPERM", "EROFS", "EMFILE", "ENFILE", "ENOENT", "EBUSY", "ESTALE")
    if hasattr(errno, name)
)


@contextmanager
def damage_told(archive: Path) -> Iterator[None]:
    """Turn any error that the libraries raise for a damaged archive into one error with its name.

    They raise some twenty kinds (OverflowError, IndexError, zlib.error, struct.error, ...), which depend on the damaged
    place. So every error that is neither `Refused` nor an error of the disk counts as damage.

    Raises:
        Refused: the archive cannot be read. OSError: the disk has a problem; the error is raised unchanged.
    """
    try:
        yield
    except (Refused, DiskError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        what = " ".join(str(error).split()) or type(error).__name__
        raise Refused(f"{archive.name} is damaged or not an archive ({what}). Get it again, or elsewhere.") from error


def is_zip(archive: Path) -> bool:
    """True for a file whose first bytes are those of a zip file."""
    return _start(archive).startswith(ZIP)


def limit(archive: Path) -> int:
    """The number of bytes that the archive may hold."""
    return max(HARMLESS, RATIO * archive.stat().st_size)


def require_sane(archive: Path, folder: Path) -> Content:
    """The declared content of an archive, if it is plausible and there is room for it below `folder`.

    A compressed tar has no list of its members, so it is decompressed once to get one, up to the limit.

    Raises:
        Refused: there are too many bytes or members (`Absurd`), or a size below 0. OSError: there is too little room.
            Other errors are those of `tarfile` and `zipfile`, see `damage_told`.
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
        f"{archive.name} ({archive.stat().st_size:,} bytes) is refused and nothing of it is kept. It would unpack to "
        f"{what}, but an archive of images holds at most {RATIO} times its size ({limit(archive):,} bytes). It is "
        "damaged or not that of the data set. Get it elsewhere or, if you trust it, unpack it yourself."
    )


def require_space(folder: Path, needed: int, name: str) -> None:
    """Raise `DiskError` unless `needed` bytes are free on the disk of `folder`, which may not exist yet."""
    there = next(above for above in (folder, *folder.parents) if above.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise DiskError(
            f"{name} needs {needed / 1e9:.2f} GB below {folder}, but only {free / 1e9:.2f} GB are free. Make room, or "
            "give another --root, and run this again. Downloaded files are kept."
        )


@contextmanager
def open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """A tar file from which no more than `limit` bytes are ever decompressed.

    Raises:
        tarfile.ReadError: the file is not a tar. Absurd: a read goes beyond the limit.
    """
    start = _start(archive)
    opener: Callable = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), open)
    with opener(archive, "rb") as stream:
        # A tar has headers and padding besides the content of its files, which matters for small files.
        bounded = Bounded(stream, archive, None if opener is open else 2 * limit(archive))
        with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:") as tar:
            yield tar


def is_tar(archive: Path) -> bool:
    """Whether a file begins like a tar, compressed or not. Only the beginning is decompressed."""
    try:
        with damage_told(archive), open_tar(archive):
            return True
    except (Refused, OSError):
        return False


class Bounded:
    """A decompressed stream for `tarfile` with limits: no byte after `most` is read, and not much at once.

    `most` is None for a file that is not compressed, which ends by itself.
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
        """Go to a byte. In a compressed stream this decompresses everything before it."""
        self._require(place)
        return self._stream.seek(place)

    def _require(self, place: int) -> None:
        if self._most is not None and place > self._most:
            raise absurd(self._archive, f"{place:,} bytes or more")


def _start(archive: Path) -> bytes:
    with open(archive, "rb") as file:
        return file.read(8)
