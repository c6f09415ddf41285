"""Where the repository is, and the records that runs left."""

from __future__ import annotations

import json
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def records(folder: Path) -> list[dict]:
    """All run records below a folder, by seed."""
    found = [json.loads(path.read_text()) for path in folder.rglob("result.json")]
    return sorted(found, key=lambda r: (r["dataset"], r["method"], r["seed"]))
