"""A table of digests of files, so that only new or changed files are read."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from simnl import sharing
from simnl.bars import bar as progress_bar
from simnl.files import is_writable, make_cache, read_with_version, version_of
from simnl.sqlite import SQL_ERRORS, is_damage

log = logging.getLogger(__name__)

NBYTES = 500  # memory that a digest and its key need
CHUNK = 2000  # digests that are stored at once, so that an interrupted pass can continue
READERS = 4  # threads that read files for their digests alone; each holds one file
TABLE = (
    "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, digest BLOB, crc INTEGER)"
)


class FileContent(NamedTuple):
    """The digest of a file.

    Attributes:
        path: the file.
        version: size and time of change as of before it was read.
        digest: SHA-256 of its content, 32 bytes.
    """

    path: str
    version: tuple[int, int]
    digest: bytes


class FileDigests:
    """SHA-256 of files, stored by (path, size, modification time), so that a later run only looks at these facts.

    Each row has a check sum. If it is wrong, the file is read again. Tables of earlier versions without check sums are
    not used.

    root: the folder of the table.
    """

    def __init__(self, root: Path):
        self._path = make_cache(root) / "files.sqlite"

    def of(self, paths: Sequence[str], shown: str = "") -> list[bytes]:
        """Content digests, 32 bytes each, in the order of `paths`; what is not remembered is read, by several threads.

        shown: what a progress bar says, which short passes do not show; empty: none.

        Raises:
            OSError: a file is not there, or cannot be read.
        """
        found = self.known(paths)
        missing = list(dict.fromkeys(path for path, digest in zip(paths, found, strict=True) if digest is None))
        read: dict[str, bytes] = {}
        with (
            progress_bar(shown, len(missing), "image", shown=bool(shown), delay=2) as bar,
            ThreadPoolExecutor(READERS) as readers,
        ):
            for start in range(0, len(missing), CHUNK):
                part = list(readers.map(read_content, missing[start : start + CHUNK]))
                self.remember(part)
                read |= {content.path: content.digest for content in part}
                bar.update(len(part))
        return [read[path] if digest is None else digest for path, digest in zip(paths, found, strict=True)]

    def known(self, paths: Sequence[str]) -> list[bytes | None]:
        """What is remembered of `paths`, in their order; None of a file that is new or has changed. No file is opened.

        Raises:
            OSError: a file is not there.
        """
        kept = sharing.current()
        keys = tuple((path, *version_of(path)) for path in map(os.path.abspath, paths))
        if kept is None:
            return self._looked_up(keys)
        found = kept.get(("digests", self._path, keys))
        if found is None:
            found = self._looked_up(keys)
            if None not in found:
                kept.put(("digests", self._path, keys), found, NBYTES * len(found))
        return list(found)

    def remember(self, contents: Iterable[FileContent]) -> None:
        """Remember digests, all of them or none; where nothing can be written, they are read again next time."""
        rows = []
        for path, version, digest in contents:
            row = (os.path.abspath(path), *version, digest)
            rows.append((*row, _row_crc(*row)))
        if rows and is_writable(self._path):
            self._guarded(lambda connection: _insert(connection, rows))

    def _looked_up(self, keys: Sequence[tuple[str, int, int]]) -> list[bytes | None]:
        """The digests of (absolute path, size, time) in the table."""
        if not keys:
            return []
        try:
            digests, damaged = self._guarded(lambda connection: _select(connection, keys))
        except SQL_ERRORS as error:
            log.info("%s can be neither used (%s) nor written, so the files are read again.", self._path, error)
            return [None] * len(keys)
        if damaged:
            log.warning("%d rows of %s are damaged, so their files are read again.", damaged, self._path)
        return digests

    def _guarded(self, action):
        """Run an action on the table; a broken one is replaced by an empty one, and the action repeated once.

        Raises:
            OSError: the table cannot be used; SQL_ERRORS: nor could it be written to (a read-only disk).
        """
        try:
            return self._on_table(action)
        except SQL_ERRORS as error:
            if not is_writable(self._path):
                raise
            if not is_damage(error):
                raise OSError(f"Cannot use {self._path}: {error}.") from error
            log.warning("%s is damaged (%s), so it is built anew.", self._path, error)
        for name in ("", "-journal", "-wal", "-shm"):  # the journal of the broken file must not be applied
            self._path.with_name(self._path.name + name).unlink(missing_ok=True)
        return self._on_table(action)

    def _on_table(self, action):
        with closing(sqlite3.connect(self._path, timeout=120)) as connection:
            connection.execute(TABLE)
            return action(connection)


def read_content(path: str) -> FileContent:
    """The digest of a file, which is read as a whole.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    data, version = read_with_version(path)
    return FileContent(path, version, hashlib.sha256(data).digest())


def _insert(connection: sqlite3.Connection, rows: list[tuple]) -> None:
    with connection:
        connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", rows)


def _select(connection: sqlite3.Connection, keys: Sequence[tuple[str, int, int]]) -> tuple[list[bytes | None], int]:
    """The digests of unchanged files, and how many rows were damaged."""
    query = "SELECT size, mtime, digest, crc FROM digests WHERE path = ?"
    digests: list[bytes | None] = []
    damaged = 0
    for path, *version in keys:
        row = connection.execute(query, (path,)).fetchone()
        is_sound = row is not None and row[3] == _row_crc(path, *row[:3])
        damaged += row is not None and not is_sound
        digests.append(row[2] if is_sound and list(row[:2]) == version else None)
    return digests, damaged


def _row_crc(*row: object) -> int:
    """The check sum of a row, also of a damaged one with other types."""
    return zlib.crc32(repr(row).encode(errors="surrogateescape"))
