"""Writing files so that a reader, a crash or a full disk meets the old content or the new, never a part."""

from __future__ import annotations

import functools
import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there takes the name `path` when the block ends well.

    Missing folders above it are made. If the block fails, the temporary file goes and `path` stays as it was. Names
    of temporary files start with a dot and differ from process to process.

    Raises:
        OSError: as the block does; one that names no file (a full disk's, say) is raised again with `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def make_cache(root: str | Path) -> Path:
    """The cache folder (STORE.ROOT, which the scripts call CACHE) as a path; made where it is missing.

    Raises:
        OSError: it is not there and cannot be made; the message says to set CACHE.
    """
    try:
        path = Path(root).expanduser()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # the second: nobody knows where the home folder is
        reason = "it is a file" if isinstance(error, FileExistsError) else getattr(error, "strerror", None) or error
        raise OSError(
            f"The cache folder {root} cannot be made ({reason}): set CACHE (STORE.ROOT) to a folder that you can write "
            "to."
        ) from error
    return path


def is_writable(path: Path) -> bool:
    """Whether a file can be changed, or made where it is missing, and others beside it (locks, journals)."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def write_text_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 (hex) of the content of files, by their names in `files`; those that are not there are left out."""
    return {name: sha256_of(path) for name, path in files.items() if path.is_file()}


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's content; it is read again only where its size or time say that it has changed."""
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
