"""One SQLite file of feature rows, written in transactions and checked on every read.

SQLite gives atomic commits (a killed process or a full disk leaves the last commit), locking between processes, and
detection of a broken file. A check sum per row catches damage inside a row.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS features (
    item BLOB NOT NULL, view INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (item, view)
);
"""
BUSY_SECONDS = 120.0


class FeatureDatabase:
    """Rows of float32 features keyed by (item digest, view number).

    Args:
        path: the file; made when missing. A file that is not a sound database of the same content is set aside
            (`<name>.damaged-<time>`) with a warning, and a new one is begun.
        dim: feature width D; a row of another width counts as damaged.
        content: what the rows are (weights, transform, ...); must agree with what the file says of itself.
    """

    def __init__(self, path: Path, dim: int, content: dict):
        self.path, self.dim = path, dim
        self._content = json.dumps(content, sort_keys=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise OSError(f"Cannot open the feature store {path}: {error}.") from error
            self._replace(str(error))

    def _open(self) -> None:
        # One thread at a time uses it, but not always the one that opened it: batches are written beside the encoder.
        self._connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False)
        self._connection.executescript(SCHEMA)
        with self._connection:
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('content', ?)", (self._content,))
        (found,) = self._connection.execute("SELECT value FROM meta WHERE name = 'content'").fetchone()
        if found != self._content:
            raise sqlite3.DatabaseError(f"it holds features of something else: {found}")

    def _replace(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        log.warning(
            "The feature store %s is damaged (%s). It is kept as %s and built anew.", self.path, why, aside.name
        )
        self.close()
        os.replace(self.path, aside)
        for journal in self.path.parent.glob(f"{self.path.name}-*"):
            journal.unlink(missing_ok=True)  # a journal of the broken file must not be replayed into the new one
        self._open()

    def close(self) -> None:
        """Close the file; the object cannot be used afterwards."""
        if hasattr(self, "_connection"):
            self._connection.close()

    def missing(self, items: Sequence[bytes], views: Sequence[int]) -> list[tuple[int, int]]:
        """The (position in items, view) pairs that have no row."""
        return self._guard(self._missing, items, views)

    def _missing(self, items: Sequence[bytes], views: Sequence[int]) -> list[tuple[int, int]]:
        query = "SELECT view FROM features WHERE item = ? AND view BETWEEN ? AND ?"
        low, high = min(views), max(views)
        absent: list[tuple[int, int]] = []
        for position, item in enumerate(items):
            present = {view for (view,) in self._connection.execute(query, (item, low, high))}
            absent.extend((position, view) for view in views if view not in present)
        return absent

    def read(self, items: Sequence[bytes], views: Sequence[int]) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Read rows.

        Returns:
            features (V, N, D) float32 in the order asked for, and the (position, view) pairs of rows that are absent
            or damaged (their features are zero).
        """
        return self._guard(self._read, items, views)

    def _read(self, items: Sequence[bytes], views: Sequence[int]) -> tuple[np.ndarray, list[tuple[int, int]]]:
        query = "SELECT view, data, crc FROM features WHERE item = ? AND view BETWEEN ? AND ?"
        low, high = min(views), max(views)
        slot = {view: i for i, view in enumerate(views)}
        features = np.zeros((len(views), len(items), self.dim), dtype=np.float32)
        bad: list[tuple[int, int]] = []
        for position, item in enumerate(items):
            wanted = set(views)
            for view, data, crc in self._connection.execute(query, (item, low, high)):
                if view in slot and len(data) == 4 * self.dim and crc == _checksum(item, view, data):
                    features[slot[view], position] = np.frombuffer(data, dtype="<f4")
                    wanted.discard(view)
            bad.extend((position, view) for view in sorted(wanted))
        return features, bad

    def write(self, rows: Iterable[tuple[bytes, int, np.ndarray]]) -> None:
        """Store rows (item digest, view, feature (D,)) in one transaction: all of them or none.

        Raises:
            OSError: the disk is full or the folder cannot be written; nothing of this call is kept.
        """
        records = []
        for item, view, feature in rows:
            data = np.ascontiguousarray(feature, dtype="<f4").tobytes()
            records.append((item, view, data, _checksum(item, view, data)))
        self._guard(self._insert, records)

    def _insert(self, records: list[tuple]) -> None:
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", records)

    def _guard(self, action, *args):
        """Run an action; a broken file is replaced by an empty one and the action repeated once."""
        try:
            return action(*args)
        except sqlite3.OperationalError as error:
            if "malformed" not in str(error):
                raise OSError(
                    f"Cannot use the feature store {self.path}: {error}. Free some space or set CACHE to "
                    "another folder; what was stored so far stays valid."
                ) from error
            reason = str(error)
        except sqlite3.DatabaseError as error:
            reason = str(error)
        self._replace(reason)
        return action(*args)


def _checksum(item: bytes, view: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(item + view.to_bytes(4, "little", signed=True)))
