"""Run records: every run writes `result.json` last, and tables and plots are made from records alone."""

from __future__ import annotations

import functools
import logging
import platform
import subprocess
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

from simnl.locations import ROOT
from simnl.runs.record_rules import problems
from simnl.sealed import KEY as SEAL
from simnl.sealed import read_sealed, write_sealed

log = logging.getLogger(__name__)

SCHEMA = 2
UNSEALED = 1  # the schema of older records, which have no check sum
FILE = "result.json"
COSTS = ("encoded_images", "seconds", "peak_memory_mb", "device", "environment")
OWN_IMAGES = "imagefolder"  # the config of folders of the user's own images, each of which is a data set
PACKAGES = ("torch", "torchvision", "open_clip_torch", "dassl", "numpy", "pillow")


def write_record(folder: str | Path, record: dict) -> Path:
    """Write a run's record with its check sum, atomically.

    Raises:
        ValueError: a required key is missing or of the wrong type, or a number is out of its range.
    """
    wrong = problems(record, (SCHEMA,))
    if wrong:
        raise ValueError(f"The run record is not complete: {'; '.join(wrong)}.")
    path = Path(folder) / FILE
    write_sealed(path, record)
    return path


def read_record(path: str | Path, content: bytes | None = None) -> dict:
    """Read one record. Records of schema 1, which have no check sum, can be read, too.

    Args:
        path: the file.
        content: the bytes of the file, if it does not lie on the disk by itself.

    Raises:
        FileNotFoundError: there is no record.
        OSError: the record cannot be read.
        ValueError: the record is not json, is damaged, of another schema or incomplete, or has a number out of range.
            The message names the file and the reason.
    """
    advice = "Delete it and run again."
    record = read_sealed(path, advice, older=_is_unsealed, content=content)
    wrong = problems(record, (SCHEMA, UNSEALED))
    if wrong:
        raise ValueError(f"{path} is not a run record of this version: {'; '.join(wrong)}. {advice}")
    return record


def _is_unsealed(content: object) -> bool:
    return isinstance(content, dict) and content.get("schema") == UNSEALED and SEAL not in content


def with_earlier(folder: str | Path, record: dict, *, resumed: bool) -> dict:
    """The record of a run with the figures of other targets from the earlier record in its folder.

    A finished run is carried out again if figures of a target are missing. Its head is then the same as before, which
    the same accuracy confirms. If nothing was learned anew (`resumed`), the cost of learning comes from the earlier
    record.

    Returns:
        A new record. It equals `record` if there is no earlier one, or if that one has another config, seed or head.
    """
    try:
        earlier = read_record(Path(folder) / FILE)
    except (FileNotFoundError, ValueError):
        return record
    if any(earlier[key] != record[key] for key in ("config_hash", "seed", "accuracy")):
        return record
    costs = {key: earlier[key] for key in COSTS if key in earlier} if resumed else {}
    return record | costs | {"targets": earlier.get("targets", {}) | record["targets"]}


def is_reweighting(key: str) -> bool:
    """True for a config key of any method that may switch instance weights."""
    return key.rsplit(".", 1)[-1].startswith("REWEIGHT")


def reweighting_off(record: dict) -> list[str]:
    """The options of a run that switch instance weights off."""
    return [key for key, value in record.get("options", {}).items() if is_reweighting(key) and value is False]


def own_images_name(folder: str | Path) -> str:
    """`imagefolder-<name of the folder>`, the name of a folder of the user's own images in records and tables."""
    name = "_".join(Path(folder).name.split())
    return f"{OWN_IMAGES}-{name}" if name else OWN_IMAGES


def config_of(dataset: str) -> str:
    """The name of the config of the data set in a record."""
    return OWN_IMAGES if dataset.startswith(f"{OWN_IMAGES}-") else dataset


def is_done(folder: str | Path, config_hash: str, targets: Sequence[str] = ()) -> bool:
    """True if the folder holds a valid record of this config that has figures of these targets.

    A warning names a record that is not valid. Its run does not count as done.
    """
    path = Path(folder) / FILE
    try:
        if not path.is_file():
            return False
        record = read_record(path)
    except (OSError, ValueError) as error:
        log.warning("%s (Its run does not count as done.)", error)
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
    # Upstream Dassl, or another copy, may be imported in place of the distribution that is installed.
    versions["dassl"] = getattr(import_module("dassl"), "__version__", "unknown")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "commit": _commit(),
    }


@functools.cache
def _commit() -> str:
    """The commit of the code when this process asked first."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
