"""Open archives that are not trusted: no member leaves the folder, and nothing half-made stays behind."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from simnl.bars import Bar
from simnl.bars import bar as progress_bar

from .sizes import DiskError, Refused, damage_told, is_zip, open_tar, require_sane

TEMPORARY = ".unpacking-"  # beside the target: a rename within one disk cannot stop half way
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)  # Python reads these
ENCRYPTED = 0x1  # flag of a zip's member
_DEPTH = 4  # the levels of folders in which a member is looked for


@contextmanager
def unpacked(archive: Path, beside: Path, inner: str = "") -> Iterator[Path]:
    """The archive's content in a temporary folder in `beside`, which goes in the end.

    `inner` names an archive inside it, which is unpacked, too.

    Raises:
        ValueError: a member that leads out of the folder, by name; a damaged archive; one that holds absurdly much.
        OSError: the disk has too little room for it.
    """
    beside.mkdir(parents=True, exist_ok=True)
    remove_leftovers(beside)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=beside))
    try:
        extract(archive, folder, beside)
        if inner:
            inside = folder / f"{TEMPORARY}inner"
            archive_inside = find_member(folder, inner)
            inside.mkdir()
            extract(archive_inside, inside, beside)
            yield inside
        else:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders of runs that were killed; of data in use there is nothing in them."""
    for left in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)


def extract(archive: Path, folder: Path, below: Path) -> None:
    """Extract a tar (plain, gz, bz2, xz) or zip file into `folder`, a temporary one in `below`.

    Raises:
        ValueError: see `unpacked`. OSError: the disk is full, or is going to be.
    """
    try:
        with damage_told(archive):
            content = require_sane(archive, below)
            with progress_bar(f"unpack {archive.name}", content.members, "file") as bar:
                write = _extract_zip if is_zip(archive) else _extract_tar
                write(archive, folder, bar)
    except DiskError:  # says all of it already
        raise
    except OSError as error:
        raise OSError(
            f"{archive.name} could not be unpacked below {below} ({error}); nothing of it is kept. Mend that and run "
            "this again."
        ) from error


def _extract_tar(archive: Path, folder: Path, bar: Bar) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise Refused(
            f"{archive.name} is not unpacked: this Python cannot do so safely. Update it (3.10.12, 3.11.4 or later)."
        )
    with open_tar(archive) as tar:
        for member in tar:
            _refuse(archive, member.name, outside(member.name))
            if member.islnk() or member.issym():  # stricter than the filter, which chains of links have deceived
                why = outside(member.linkname)
                _refuse(archive, member.name, why and f"is a link to {member.linkname!r}, which {why}")
            try:
                tar.extract(member, folder, filter="data")
            except tarfile.FilterError as error:
                _refuse(archive, member.name, str(error))
            if member.isreg():
                _refuse(archive, member.name, _other_size(folder / member.name, member.size))
            bar.update()
        # A tar that breaks off between two members looks complete: what compresses it knows better.
        while tar.fileobj.read(1 << 20):
            pass


def _extract_zip(archive: Path, folder: Path, bar: Bar) -> None:
    seen: dict[str, tuple[int, int]] = {}
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            odd = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "is a link, a device or a pipe"
            _refuse(archive, info.orig_filename, odd or outside(info.orig_filename) or _unreadable(info, seen))
        for info in file.infolist():
            file.extract(info, folder)
            if not info.is_dir():
                _refuse(archive, info.orig_filename, _other_size(folder / info.filename, info.file_size))
            bar.update()


def _unreadable(info: zipfile.ZipInfo, seen: dict[str, tuple[int, int]]) -> str:
    """Why a zip's member cannot be unpacked, told before any is; `seen` has check sum and size of those before it."""
    if info.flag_bits & ENCRYPTED:
        return "is encrypted; unpack the archive yourself, with its password"
    if info.compress_type not in METHODS:
        return f"is compressed by method {info.compress_type}, which Python cannot read; unpack the archive yourself"
    content = (info.CRC, info.file_size)
    return "" if seen.setdefault(info.filename, content) == content else "is there twice, with different content"


def _other_size(path: Path, declared: int) -> str:
    """What is wrong with a file as it was written; the libraries write what is declared at most."""
    written = path.stat().st_size
    return "" if written == declared else f"has {written:,} bytes, not the {declared:,} that the archive declares"


def outside(name: str) -> str:
    """Why a member's name is refused; "" for a name inside the folder."""
    if not name.strip():
        return "has no name"
    if "\0" in name:
        return "has a NUL byte in its name"
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "is an absolute path"
    return "leads out of the folder" if ".." in re.split(r"[/\\]", name) else ""


def _refuse(archive: Path, member: str, why: str) -> None:
    if why:
        raise Refused(f"{archive.name} is refused and nothing of it is kept: its member {member!r} {why}.")


def find_member(folder: Path, member: str) -> Path:
    """The file or folder whose path below `folder` ends with `member`, the least deep one.

    Raises:
        ValueError: there is none; the message says what there is.
    """
    parts = PurePosixPath(member).parts
    level = [folder]
    for _ in range(_DEPTH):
        below = []
        for parent in level:
            with os.scandir(parent) as entries:
                found = sorted(Path(entry.path) for entry in entries if not _is_metadata(entry.name))
            for path in found:
                if path.relative_to(folder).parts[-len(parts) :] == parts:
                    return path
            below += [path for path in found if path.is_dir() and not path.is_symlink()]
        level = below
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
    raise ValueError(f"the archive holds no {member}; it holds {there}.")


def _is_metadata(name: str) -> bool:
    return name == "__MACOSX" or name.startswith("._")
