"""Run records: one `result.json` per run, written last; tables and plots are made from these alone."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from atomic import write_text_atomically

SCHEMA = 1
FILE = "result.json"
REQUIRED = {
    "schema": int, "method": str, "dataset": str, "shots": int, "seed": int, "backbone": str, "preset": str,
    "protocol": str, "config_hash": str, "accuracy": float,
}  # fmt: skip
PACKAGES = ("torch", "torchvision", "open_clip_torch", "dassl", "numpy", "pillow")


def write_record(folder: str | Path, record: dict) -> Path:
    """Write a run's record, atomically.

    Raises:
        ValueError: a required key is missing or of the wrong type.
    """
    wrong = _problems(record)
    if wrong:
        raise ValueError(f"The run record is not complete: {'; '.join(wrong)}.")
    path = Path(folder) / FILE
    write_text_atomically(path, json.dumps(record, indent=2, sort_keys=True) + "\n")
    return path


def read_record(path: str | Path) -> dict:
    """Read one record.

    Raises:
        ValueError: not json, another schema, or an incomplete record; the message names the file and the reason.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not valid json ({error}). Delete it and run again.") from error
    wrong = _problems(record) if isinstance(record, dict) else ["it is not a json object"]
    if wrong:
        raise ValueError(f"{path} is not a run record of this version: {'; '.join(wrong)}. Delete it and run again.")
    return record


def is_done(folder: str | Path, config_hash: str, targets: Sequence[str] = ()) -> bool:
    """True when the folder holds a valid record of this config, with figures of these shifted data sets."""
    path = Path(folder) / FILE
    if not path.is_file():
        return False
    try:
        record = read_record(path)
    except ValueError:
        return False
    return record["config_hash"] == config_hash and set(targets) <= set(record.get("targets", {}))


def environment() -> dict:
    """Versions, platform and commit, for the record."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "commit": _commit(),
    }


def _commit() -> str:
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _problems(record: dict) -> list[str]:
    wrong = []
    for key, kind in REQUIRED.items():
        if key not in record:
            wrong.append(f"'{key}' is missing")
        elif not isinstance(record[key], kind) or isinstance(record[key], bool):
            wrong.append(f"'{key}' is {record[key]!r}, expected {kind.__name__}")
    if not wrong and record["schema"] != SCHEMA:
        wrong.append(f"its schema is {record['schema']}, this program writes {SCHEMA}")
    return wrong
