"""Write files so that a reader always finds the old content or the new, also if a process is killed or a disk is full.

Files are not forced to the disk, so the last ones may be damaged where the machine itself crashes. Their check sums
(`simnl.sealed`) tell.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# What a killed process leaves: `.<name>.<32 hex digits>.tmp` of `replacing`, `.<name>.<process id>.tmp` of the engine,
# `.tmp<6 letters or digits>` of safetensors.
LEFT_OVER = re.compile(r"\..+\.([0-9a-f]{32}|\d+)\.tmp|\.tmp[A-Za-z0-9]{6}")
HOUR = 3600.0  # seconds; no file takes so long to write


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` when the block ends without an error.

    Missing folders above it are made. If the block fails, the temporary file is deleted and `path` stays as it was.
    Names of temporary files start with a dot and differ from process to process. The file's permissions are those that
    umask gives a new file, whoever wrote it.

    Raises:
        OSError: the block raised it. If it names no file, as on a full disk, it is raised again with `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        mode = _create(temporary)
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != mode:  # a library has replaced it by a private file
            temporary.chmod(mode)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def make_cache(root: str | Path) -> Path:
    """The cache folder (STORE.ROOT, which the scripts call CACHE) as a path; made if it is missing.

    Raises:
        OSError: it is not there and cannot be made; the message says to set CACHE.
    """
    try:
        path = Path(root).expanduser()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the home folder is not known
        reason = "it is a file" if isinstance(error, FileExistsError) else getattr(error, "strerror", None) or error
        raise OSError(
            f"The cache folder {root} cannot be made ({reason}): set CACHE (STORE.ROOT) to a folder that you can write "
            "to."
        ) from error
    return path


def is_writable(path: Path) -> bool:
    """Whether a file can be written, and other files beside it (locks, journals)."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def check_target(path: Path, example: str) -> None:
    """Check that a file can be written at a path, before the work for it begins. Nothing is made.

    Args:
        path: the file, which may exist; folders above it may be missing, because `replacing` makes them.
        example: a file name that the message suggests where the path is a folder.

    Raises:
        OSError: it cannot, because of a folder, a device, a file above it, or permissions. The message says which.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Name a file, such as {path / example}.")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a device or a pipe, which a file cannot replace. Choose another place.")
    above = next(folder for folder in path.parents if os.path.lexists(folder))
    if not above.is_dir():
        raise NotADirectoryError(f"{path} cannot be written, because {above} is not a folder. Choose another place.")
    if not (is_writable(path) if above == path.parent else os.access(above, os.W_OK)):
        raise PermissionError(f"{path} may not be written. Choose another place.")


def _create(path: Path) -> int:
    """Make an empty file, and return the permissions that umask gives it."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 (hex) of the content of files, by their names in `files`. Missing files are left out."""
    return {name: sha256_of(path) for name, path in files.items() if path.is_file()}


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's content; read again only if its size or time has changed."""
    return _sha256_of(path, *version_of(path))


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def version_of(path: str | Path) -> tuple[int, int]:
    """Size and time of change of a file. A file is read again when one of the two has changed."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def read_with_version(path: str) -> tuple[bytes, tuple[int, int]]:
    """The content of a file, and its `version_of` as of before it was read: a change meanwhile is seen next time."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        return file.read(), (status.st_size, status.st_mtime_ns)


def remove_left_overs(folder: Path, older_than: float = 0.0) -> list[Path]:
    """Remove temporary files that killed processes left in a folder; links are not followed.

    Args:
        folder: the folder, without its sub-folders; it may be missing.
        older_than: only files that were last written so many seconds ago are removed. Use 0 only if no other process
            can be writing, as under a lock; elsewhere `HOUR` spares the files of running processes.

    Returns:
        The removed files.
    """
    removed: list[Path] = []
    now = time.time()
    try:
        entries = [entry for entry in os.scandir(folder) if LEFT_OVER.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return removed
    for entry in entries:
        try:
            if entry.is_file(follow_symlinks=False) and now - entry.stat(follow_symlinks=False).st_mtime >= older_than:
                os.unlink(entry.path)
                removed.append(Path(entry.path))
        except FileNotFoundError:  # another process was faster
            continue
    return removed
