"""One SQLite file of feature rows, written in transactions and checked on every read.

SQLite gives atomic commits (a killed process or a full disk leaves the last commit), locking between processes, and
detection of a broken file. A check sum per row catches damage inside a row.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from simnl.files import is_writable
from simnl.sqlite import SQL_ERRORS, is_damage
from simnl.waiting import holding

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS features (
    item BLOB NOT NULL, view INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (item, view)
);
"""
BUSY_SECONDS = 120.0
PAGES_KB = 2**14  # of the file in memory: all but the leaves of the index of ten million rows
MOST_ASKED = 500  # keys in one question; SQLite took 999 for long
MOST_BYTES = 2**22  # of rows in one answer
ELSEWHERE = "Set CACHE to a folder that you can write to"


class FeatureDatabase:
    """Rows of float32 (or, on the disk, float16) features keyed by (item digest, view number).

    Args:
        path: the file, which is made if it is missing. A file that is not a sound database of the same content is
            renamed to `<name>.damaged-<time>` with a warning, and a new one is made. A file that cannot be written, as
            on a read-only disk, is only read.
        dim: the feature width D; a row of another width counts as damaged.
        content: the description of the rows (weights, transform, ...), which must agree with the one in the file.
        half: True if the file stores float16 numbers, for rows that were rounded to float16 before.
    """

    def __init__(self, path: Path, dim: int, content: dict, half: bool = False):
        self.path, self.dim = path, dim
        self.half = half
        self._dtype = np.dtype("<f2" if half else "<f4")
        self._content = json.dumps(content, sort_keys=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"The feature store {path} cannot be made ({reason}). {ELSEWHERE}.") from error
        except SQL_ERRORS as error:
            if not is_damage(error):
                advice = _of_a_lock(error) or f" {ELSEWHERE}."
                raise OSError(f"Cannot open the feature store {path}: {error}.{advice}") from error
            self._replace(str(error))

    def _open(self) -> None:
        self._file = _file_at(self.path)
        # One thread at a time uses the connection, but not always the one that opened it: a second one writes batches.
        self._connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False)
        self._connection.execute(f"PRAGMA cache_size = -{PAGES_KB}")
        self._connection.executescript(SCHEMA)
        question = "SELECT value FROM meta WHERE name = 'content'"
        if self._connection.execute(question).fetchone() is None:
            with self._connection:
                self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('content', ?)", (self._content,))
        (found,) = self._connection.execute(question).fetchone()
        if found != self._content:
            raise sqlite3.DatabaseError(f"it holds other features: {found}")
        self._file = _file_at(self.path)

    @property
    def is_writable(self) -> bool:
        """Whether features can be stored."""
        return is_writable(self.path)

    def require_writable(self, number: int) -> None:
        """Raise OSError if the file cannot be written, although `number` features are missing in it."""
        if not self.is_writable:
            raise OSError(
                f"{number} features are missing in {self.path}, which cannot be written (is the disk read-only?). "
                f"{ELSEWHERE}, or run the command once where this file can be written."
            )

    def _replace(self, why: str) -> None:
        if not is_writable(self.path):
            raise OSError(f"The feature store {self.path} is damaged ({why}), and it may not be written. {ELSEWHERE}.")
        with holding(self.path.with_name(f"{self.path.name}.replace.lock"), f"replaces {self.path}"):
            self.close()
            if _file_at(self.path) == self._file:  # else another process has replaced it, and has perhaps filled it
                self._put_aside(why)
            self._open()

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        log.warning(
            "The feature store %s is damaged (%s). It is kept as %s and built anew.", self.path, why, aside.name
        )
        os.replace(self.path, aside)
        for journal in self.path.parent.glob(f"{self.path.name}-*"):
            journal.unlink(missing_ok=True)  # it must not be applied to the new file

    def close(self) -> None:
        """Close the file. The object cannot be used afterwards."""
        if hasattr(self, "_connection"):
            self._connection.close()

    def missing(self, items: Sequence[bytes | None], views: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """The views that have no row, by the position in `items` of those that lack any; of None nothing is known."""
        return self._guard(lambda: _lacking(self._connection, items, views))

    def read(self, items: Sequence[bytes], views: Sequence[int]) -> tuple[np.ndarray, dict[int, tuple[int, ...]]]:
        """Read rows.

        Returns:
            The features (V, N, D) float32 in the order of the arguments, and by position the views whose rows are
            missing, damaged or not finite (their features are zero).
        """
        return self._guard(self._read, items, views)

    def _read(self, items: Sequence[bytes], views: Sequence[int]) -> tuple[np.ndarray, dict[int, tuple[int, ...]]]:
        features = np.zeros((len(views), len(items), self.dim), dtype=np.float32)
        wanted: dict[tuple[bytes, int], list[tuple[int, int]]] = {}  # by (item, view): places in `features`
        for slot, position in itertools.product(range(len(views)), range(len(items))):
            wanted.setdefault((items[position], views[slot]), []).append((slot, position))
        rows = [
            row for _, found in _found(self._connection, items, views) for key, row in found.items() if key in wanted
        ]
        for item, view, data, crc in self._rows(sorted(rows)):
            if (item, view) not in wanted or not isinstance(data, bytes):
                continue  # damaged, or another row since the index was read
            if len(data) == self._dtype.itemsize * self.dim and crc == _checksum(item, view, data):
                for slot, position in wanted.pop((item, view)):
                    features[slot, position] = np.frombuffer(data, dtype=self._dtype)
        bad: dict[int, tuple[int, ...]] = {}
        for slot, position in sorted(place for places in wanted.values() for place in places):
            bad[position] = (*bad.get(position, ()), views[slot])
        finite = np.isfinite(features).all(-1)
        if not finite.all():  # written by a version that did not check
            features[~finite] = 0
            for slot, position in np.argwhere(~finite).tolist():
                bad[position] = (*bad.get(position, ()), views[slot])
        return features, bad

    def _rows(self, numbers: Sequence[int]) -> Iterator[tuple[bytes, int, bytes, int]]:
        """Rows by their numbers, in the order in which they lie in the file: those written together lie together."""
        step = max(1, min(MOST_ASKED, MOST_BYTES // (self._dtype.itemsize * self.dim)))
        for start in range(0, len(numbers), step):
            asked = numbers[start : start + step]
            yield from self._connection.execute(
                f"SELECT item, view, data, crc FROM features WHERE rowid IN {_marks(asked)}", asked
            )

    def write(self, rows: Iterable[tuple[bytes, int, np.ndarray]]) -> None:
        """Store rows (item digest, view, feature (D,)) in one transaction: all of them or none.

        Raises:
            OSError: the disk is full or the folder cannot be written. No row of this call is stored.
        """
        records = []
        for item, view, feature in rows:
            data = np.ascontiguousarray(feature, dtype=self._dtype).tobytes()
            records.append((item, view, data, _checksum(item, view, data)))
        self._guard(self._insert, records)

    def _insert(self, records: list[tuple]) -> None:
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", records)

    def _guard(self, action, *args):
        """Run an action. A broken file is replaced by an empty one, and the action is repeated once."""
        try:
            return action(*args)
        except SQL_ERRORS as error:
            if not is_damage(error):
                advice = _of_a_lock(error) or " Free some space or set CACHE to another folder."
                raise OSError(
                    f"Cannot use the feature store {self.path}: {error}.{advice} Features stored so far stay valid."
                ) from error
            reason = str(error)
        self._replace(reason)
        return action(*args)


def _file_at(path: Path) -> tuple[int, int] | None:
    """What tells the file at a path from one that takes its place; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class StoredViews:
    """Asks a database which views it has. Worker processes do, so it is opened, for reading, at the first question.

    path: the file. Where it cannot be read, nothing counts as stored: that costs an encode, which changes no row.
    """

    def __init__(self, path: Path):
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def missing(self, item: bytes, views: Sequence[int]) -> tuple[int, ...]:
        """The views of an image that have no row."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", BUSY_SECONDS, uri=True)
            return _lacking(self._connection, [item], views).get(0, ())
        except SQL_ERRORS:
            return tuple(views)

    def close(self) -> None:
        """Close the file, if this process has opened it."""
        if self._connection is not None:
            self._connection.close()


def _lacking(
    connection: sqlite3.Connection, items: Sequence[bytes | None], views: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    """See `FeatureDatabase.missing`."""
    known = [(place, item) for place, item in enumerate(items) if item is not None]
    absent = {}
    for places, found in _found(connection, [item for _, item in known], views):
        for position, item in (known[place] for place in places):
            lacking = tuple(view for view in views if (item, view) not in found)
            if lacking:
                absent[position] = lacking
    return dict(sorted(absent.items()))


def _found(
    connection: sqlite3.Connection, items: Sequence[bytes], views: Sequence[int]
) -> Iterator[tuple[list[int], dict[tuple[bytes, int], int]]]:
    """Where rows are, from the index alone: many keys per question, in their order, so that it is walked once.

    Yields:
        positions in items, and the number of each row that is there of these items, by (item, view).
    """
    order = sorted(range(len(items)), key=lambda i: items[i])
    for start in range(0, len(order), MOST_ASKED):
        positions = order[start : start + MOST_ASKED]
        query = f"SELECT item, view, rowid FROM features WHERE item IN {_marks(positions)} AND view BETWEEN ? AND ?"
        asked = (*(items[i] for i in positions), min(views), max(views))
        yield positions, {(item, view): row for item, view, row in connection.execute(query, asked)}


def _of_a_lock(error: Exception) -> str:
    """What to do if another process does not release the file; "" after any other error."""
    if "locked" not in str(error):
        return ""
    return (
        f" Another process has been writing to it for more than {BUSY_SECONDS:.0f} s, or is stopped in the middle. "
        "Let that process go on, or end it, and run the command again."
    )


def _marks(values: Sequence) -> str:
    """The list of an SQL question with a place for each value."""
    return f"({','.join('?' * len(values))})"


def _checksum(item: bytes, view: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(item + view.to_bytes(4, "little", signed=True)))
