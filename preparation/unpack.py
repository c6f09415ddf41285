"""Opening archives that one does not trust: no member leaves the folder, and nothing half-made stays."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm import tqdm

TEMPORARY = ".unpacking-"  # beside the target: a rename within one disk cannot stop half way
DAMAGE = (tarfile.ReadError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
_DEPTH = 4  # of folders in which a member is looked for


@contextmanager
def unpacked(archive: Path, beside: Path, inner: str = "") -> Iterator[Path]:
    """The archive's content in a temporary folder in `beside`, which goes in the end.

    `inner` names an archive inside it, which is unpacked, too.

    Raises:
        ValueError: a member that leads out of the folder, by name; or a damaged archive.
    """
    beside.mkdir(parents=True, exist_ok=True)
    remove_leftovers(beside)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=beside))
    try:
        extract(archive, folder)
        if inner:
            inside = folder / f"{TEMPORARY}inner"
            archive_inside = find_member(folder, inner)
            inside.mkdir()
            extract(archive_inside, inside)
            yield inside
        else:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders of runs that were killed; of data in use there is nothing in them."""
    for left in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)


def extract(archive: Path, folder: Path) -> None:
    """Extract a tar (any compression) or zip file into `folder`. ValueError as in `unpacked`, OSError: full disk."""
    try:
        if tarfile.is_tarfile(archive):
            _extract_tar(archive, folder)
        else:
            _extract_zip(archive, folder)
    except DAMAGE as error:
        raise ValueError(f"{archive.name} is damaged or no archive ({error}).") from error
    except OSError as error:  # a full disk
        raise OSError(
            f"{archive.name} could not be unpacked below {folder.parent} ({error}); nothing of it is kept."
        ) from error


def _extract_tar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError("This Python cannot unpack archives safely: update it (3.10.12, 3.11.4 or later).")
    with tarfile.open(archive) as tar, tqdm(desc=f"unpack {archive.name}", unit=" files", disable=None) as bar:
        for member in tar:
            _refuse(archive, member.name, outside(member.name))
            try:
                tar.extract(member, folder, filter="data")
            except tarfile.FilterError as error:
                _refuse(archive, member.name, str(error))
            bar.update()
        # A tar that breaks off between two members looks complete: what compresses it knows better.
        while tar.fileobj.read(1 << 20):
            pass


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            link = stat.S_ISLNK(info.external_attr >> 16)
            _refuse(archive, info.orig_filename, "is a link" if link else outside(info.orig_filename))
        for info in tqdm(file.infolist(), desc=f"unpack {archive.name}", unit=" files", disable=None):
            file.extract(info, folder)


def outside(name: str) -> str:
    """Why a member's name is refused; "" for a name inside the folder."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "is an absolute path"
    return "leads out of the folder" if ".." in re.split(r"[/\\]", name) else ""


def _refuse(archive: Path, member: str, why: str) -> None:
    if why:
        raise ValueError(f"{archive.name} is refused and nothing of it is kept: its member {member!r} {why}.")


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
