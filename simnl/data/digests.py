"""A table of digests of files, so that only new or changed files are read."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from simnl import sharing
from simnl.bars import bar as progress_bar
from simnl.files import is_writable, make_cache, version_of
from simnl.sqlite import SQL_ERRORS, is_damage

log = logging.getLogger(__name__)

NBYTES = 500  # memory that a digest and its key need


class FileDigests:
    """SHA-256 of files, stored by (path, size, modification time), so that a later run only looks at these facts.

    Each row has a check sum. If it is wrong, the file is read again. Tables of earlier versions without check sums are
    not used.
    """

    def __init__(self, root: Path):
        self._path = make_cache(root) / "files.sqlite"

    def of(self, paths: Sequence[str], progress: bool = False) -> list[bytes]:
        """Content digests, 32 bytes each, in the order of `paths`."""
        kept = sharing.current()
        if kept is None:
            return self._looked_up(paths, progress)
        keys = [(self._path, path, *version_of(path)) for path in map(os.path.abspath, paths)]
        found = [kept.get(key) for key in keys]
        missing = [place for place, digest in enumerate(found) if digest is None]
        read = self._looked_up([paths[place] for place in missing], progress) if missing else []
        for place, digest in zip(missing, read, strict=True):
            found[place] = digest
            kept.put(keys[place], digest, NBYTES)
        return found

    def _looked_up(self, paths: Sequence[str], progress: bool) -> list[bytes]:
        try:
            return self._of(self._path, paths, progress)
        except SQL_ERRORS as error:
            if not is_writable(self._path):  # a read-only disk
                log.info("%s can be neither used (%s) nor written, so the files are read again.", self._path, error)
                return self._of(":memory:", paths, progress)
            if not is_damage(error):
                raise OSError(f"Cannot use {self._path}: {error}.") from error
            log.warning("%s is damaged (%s), so it is built anew.", self._path, error)
            for name in ("", "-journal", "-wal", "-shm"):  # the journal of the broken file must not be applied
                self._path.with_name(self._path.name + name).unlink(missing_ok=True)
            return self._of(self._path, paths, progress)

    def _of(self, database: Path | str, paths: Sequence[str], progress: bool) -> list[bytes]:
        connection = sqlite3.connect(database, timeout=120)
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS digests "
                "(path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, digest BLOB, crc INTEGER)"
            )
            digests, fresh, damaged = [], [], 0
            with progress_bar("Reading images", len(paths), "image", shown=progress and len(paths) >= 20000) as bar:
                for path in paths:
                    digest, record, was_damaged = self._one(connection, os.path.abspath(path))
                    digests.append(digest)
                    fresh += [record] if record else []
                    damaged += was_damaged
                    bar.update()
            if damaged:
                log.warning("%d rows of %s are damaged, so their files are read again.", damaged, self._path)
            if fresh and (database == ":memory:" or is_writable(self._path)):  # else they are read again next time
                with connection:
                    connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", fresh)
            return digests
        finally:
            connection.close()

    @staticmethod
    def _one(connection: sqlite3.Connection, path: str) -> tuple[bytes, tuple | None, bool]:
        """The digest of a file, the row to store if there was no right one, and whether there was a damaged one."""
        stat = os.stat(path)
        known = connection.execute("SELECT size, mtime, digest, crc FROM digests WHERE path = ?", (path,)).fetchone()
        is_sound = known is not None and known[3] == _row_crc(path, *known[:3])
        if is_sound and known[:2] == (stat.st_size, stat.st_mtime_ns):
            return known[2], None, False
        digest = hashlib.sha256(Path(path).read_bytes()).digest()
        row = (path, stat.st_size, stat.st_mtime_ns, digest)
        return digest, (*row, _row_crc(*row)), known is not None and not is_sound


def _row_crc(*row: object) -> int:
    """The check sum of a row, also of a damaged one with other types."""
    return zlib.crc32(repr(row).encode(errors="surrogateescape"))
