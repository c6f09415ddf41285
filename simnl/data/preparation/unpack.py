"""Unpack untrusted archives: no member leaves the folder, and no incomplete result is left."""

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

TEMPORARY = ".unpacking-"  # a folder beside the target, because a rename within one disk is atomic
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)  # Python reads these
ENCRYPTED = 0x1  # a flag of members of zip files
_DEPTH = 4  # levels of folders in which a member is searched


@contextmanager
def unpacked(archive: Path, beside: Path, inner: str = "") -> Iterator[Path]:
    """The content of an archive in a temporary folder in `beside`, which is deleted at the end.

    `inner` names an archive inside it, which is unpacked as well.

    Raises:
        ValueError: a member leads out of the folder, or the archive is damaged or holds absurdly much.
        OSError: the disk has too little room.
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
    """Remove temporary folders of killed runs. They hold no data that are in use."""
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
    except DiskError:  # its message is complete
        raise
    except OSError as error:
        raise OSError(
            f"{archive.name} could not be unpacked below {below} ({error}). Nothing of it is kept. Solve this and run "
            "this again."
        ) from error


def _extract_tar(archive: Path, folder: Path, bar: Bar) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise Refused(
            f"{archive.name} is not unpacked: this Python cannot do so safely. Update it to 3.10.12, 3.11.4 or later."
        )
    with open_tar(archive) as tar:
        for member in tar:
            _refuse(archive, member.name, outside(member.name))
            if member.islnk() or member.issym():  # stricter than the filter, which chains of links can deceive
                why = outside(member.linkname)
                _refuse(archive, member.name, why and f"is a link to {member.linkname!r}, which {why}")
            try:
                tar.extract(member, folder, filter="data")
            except tarfile.FilterError as error:
                _refuse(archive, member.name, str(error))
            if member.isreg():
                _refuse(archive, member.name, _other_size(folder / member.name, member.size))
            bar.update()
        # A tar that ends between two members looks complete, but its compression shows that it is not.
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
    """Why a member of a zip file cannot be unpacked; `seen` has check sums and sizes of the members before it."""
    if info.flag_bits & ENCRYPTED:
        return "is encrypted; unpack the archive yourself, with its password"
    if info.compress_type not in METHODS:
        return f"is compressed by method {info.compress_type}, which Python cannot read; unpack the archive yourself"
    content = (info.CRC, info.file_size)
    return "" if seen.setdefault(info.filename, content) == content else "is there twice, with different content"


def _other_size(path: Path, declared: int) -> str:
    """The problem of the size of a written file, if any. The libraries never write more than is declared."""
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
        raise Refused(f"{archive.name} is refused and nothing of it is kept, because its member {member!r} {why}.")


def find_member(folder: Path, member: str) -> Path:
    """The file or folder whose path below `folder` ends with `member`, the least deep one.

    Raises:
        ValueError: there is none. The message says what the archive holds.
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
    raise ValueError(f"the archive holds no {member}, but it holds {there}.")


def _is_metadata(name: str) -> bool:
    return name == "__MACOSX" or name.startswith("._")
