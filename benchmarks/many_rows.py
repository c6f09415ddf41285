"""The feature store with ten million rows of 16 numbers: open, look up 50,000, add 10,000; seconds, memory, size.

Rows are random, as the digests by which they are found, and were written in no order of digests.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import memory_of
from simnl.clip.database import FeatureDatabase

TITLE = "The feature store with many rows of 16 numbers"
WIDTH, CONTENT = 16, {"kind": "synthetic"}
SIZES = {  # rows, looked up, added
    "tiny": (500, 50, 20),
    "fast": (200_000, 10_000, 2_000),
    "full": (10_000_000, 50_000, 10_000),
}
PART = 500_000  # rows of a part: its digests follow from its number
CHUNK, BATCH = 4096, 40  # rows that the program reads, and writes, at once


def digests(part: int) -> list[bytes]:
    """Those of the rows of a part."""
    data = np.random.default_rng(part).bytes(32 * PART)
    return [data[start : start + 32] for start in range(0, len(data), 32)]


def fill(path: Path, rows: int) -> None:
    """Write a store of so many rows, as fast as may be: it need not outlast a crash."""
    database = FeatureDatabase(path, WIDTH, CONTENT)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000"):
        database._connection.execute(f"PRAGMA {setting}")
    for start in range(0, rows, PART):
        items = digests(start // PART)[: rows - start]
        values = np.random.default_rng(start).standard_normal((len(items), WIDTH), dtype=np.float32)
        database.write((item, 0, row) for item, row in zip(items, values, strict=True))
    database.close()


def open_of(path: str) -> Callable:
    """Opening the file."""
    return lambda: FeatureDatabase(Path(path), WIDTH, CONTENT)


def look_up_of(path: str, rows: int, number: int) -> Callable:
    """What a run asks for whose features are there: what is missing, then the rows, chunk by chunk."""
    parts, items = -(-rows // PART), []
    for part in range(parts):
        there = digests(part)[: rows - part * PART]
        items += there[:: max(1, len(there) * parts // number)]
    items = items[:number]

    def look_up() -> None:
        database = FeatureDatabase(Path(path), WIDTH, CONTENT)
        bad = len(database.missing(items, (0,)))
        for start in range(0, len(items), CHUNK):
            bad += len(database.read(items[start : start + CHUNK], (0,))[1])
        if bad:
            raise RuntimeError(f"{bad} rows are not there.")

    return look_up


def add_of(path: str, number: int, batch: int) -> Callable:
    """Adding rows, in transactions of a batch each."""
    new = [(os.urandom(32), 0, np.ones(WIDTH, np.float32)) for _ in range(number)]

    def add() -> None:
        database = FeatureDatabase(Path(path), WIDTH, CONTENT)
        for start in range(0, number, batch):
            database.write(new[start : start + batch])

    return add


def run(size: str) -> dict:
    """Rows for the table, each measured in a process of its own."""
    rows, looked_up, added = SIZES[size]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.sqlite"
        fill(path, rows)
        size_mb = path.stat().st_size / 2**20
        cases = {
            "open": (open_of, {}),
            f"look up {looked_up:,}": (look_up_of, {"rows": rows, "number": looked_up}),
            f"add {added:,}, {BATCH} at a time": (add_of, {"number": added, "batch": BATCH}),
            f"add {added:,} at once": (add_of, {"number": added, "batch": added}),
        }
        measured = {what: memory_of(function, path=str(path), **more) for what, (function, more) in cases.items()}
    return {
        "rows": [
            {
                "what": f"{rows:,} rows: {what}",
                "seconds": {"fast": used["seconds"]},
                "memory_beyond_inputs": {"fast": used["peak"] - used["inputs"]},
                "note": f"{size_mb:,.0f} MB on the disk",
            }
            for what, used in measured.items()
        ]
    }
