"""Records for tables, plots and the report: found, checked, each run once, different data under different names."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType

from simnl.results.tables.records import IDENTITY, SETTING, prompts_text, split_suffix, values_of
from simnl.runs.record import FILE, OWN_IMAGES, config_of, own_images_name, read_record

log = logging.getLogger(__name__)

# Keys that tables, plots and the report use where they are there, and the types that they must have.
NUMBER = (int, float)
OPTIONAL = {
    "targets": dict, "options": dict, "prompts": list, "seconds": dict, "peak_memory_mb": dict, "views": dict,
    "hparams": dict, "swept": dict, "environment": dict, "val_accuracy_per_epoch": list, "best_epoch": (NoneType, int),
    "weights": str, "weights_fingerprint": str, "split_hash": str, "split_origin": str, "subsample_classes": str,
    "arch": str, "device": str, "num_classes": int, "num_train": int, "num_val": int, "num_test": int,
    "num_settings": int, "trainable_parameters": int, "encoded_images": int, "label_noise": NUMBER,
    "images_per_class": (NoneType, list),
}  # fmt: skip
# Keys whose content must be finite numbers.
NUMBERS = ("targets", "seconds", "peak_memory_mb", "val_accuracy_per_epoch", "images_per_class")
# Options that stand in records under keys of their own; for one's own images those that say which images they are, too.
RECORDED = ("PRESET", "PROTOCOL", "DATASET.LABEL_NOISE", "DATASET.SUBSAMPLE_CLASSES", "DATASET.NUM_SHOTS", "SEED")
OWN_DATA = ("DATASET.FOLDER", "DATASET.VAL_FRACTION", "DATASET.TEST_FRACTION", "DATASET.SPLIT_FILE")


def find_records(paths: Iterable[str | Path]) -> list[dict]:
    """All valid records at or below the paths, each with the key `path` added.

    A damaged or foreign record is named in a warning and left out.

    Raises:
        FileNotFoundError: a path that is not there, or no record below any of them.
        ValueError: there are records, but none is valid; the message names them.
    """
    files: list[Path] = []
    for given in map(Path, paths):
        if not given.exists():
            raise FileNotFoundError(f"No such file or folder: {given}")
        files += [given] if given.is_file() else sorted(given.rglob(FILE))
    if not files:
        raise FileNotFoundError(
            f"No {FILE} below {', '.join(map(str, paths))}. Run something first, e.g.\n"
            "  bash scripts/simnl/main.sh shapes 16"
        )
    records, problems = [], []
    for file in dict.fromkeys(files):
        try:
            records.append({**_own_images(_checked(file)), "path": str(file)})
        except (OSError, ValueError) as error:
            problems.append(str(error))
    if not records:
        raise ValueError("\n".join(["None of the records can be used:", *(f"  {p}" for p in problems)]))
    for problem in problems:
        log.warning("Skipped: %s", problem)
    return _with_fewest_options(_apart(_once(records)))


def _own_images(record: dict) -> dict:
    """A run on a folder of one's own images: the folder is its data set (older records say so in their options)."""
    if config_of(record["dataset"]) != OWN_IMAGES:
        return record
    options = record.get("options", {})
    folder = options.get("DATASET.FOLDER", "")
    name = own_images_name(str(folder)) if record["dataset"] == OWN_IMAGES else record["dataset"]
    return {**record, "dataset": name, "options": {k: v for k, v in options.items() if k not in OWN_DATA}}


def _apart(records: Sequence[dict]) -> list[dict]:
    """Different splits of the same name that are our own, e.g. of two folders, as data sets of their own: `name@split`.

    Standard splits are left as they are: there, tables name the split in a row's label.
    """
    splits = defaultdict(set)
    for record in filter(_own_split, records):
        splits[record["dataset"], record.get("split_origin")].add(record.get("split_hash", ""))
    several = {place for place, hashes in splits.items() if len(hashes) > 1}
    return [
        {**record, "dataset": record["dataset"] + split_suffix(record)}
        if _own_split(record) and (record["dataset"], record.get("split_origin")) in several
        else record
        for record in records
    ]


def _own_split(record: dict) -> bool:
    return config_of(record["dataset"]) == OWN_IMAGES or record.get("split_origin", "standard") != "standard"


def _once(records: Sequence[dict]) -> list[dict]:
    """A run that is found twice, e.g. in a copied folder, counts once: the one with most targets, then by path."""
    kept: dict[tuple, dict] = {}
    for record in sorted(records, key=lambda r: (-len(r.get("targets", {})), r["path"])):
        keys = ("method", "dataset", "shots", "seed", *SETTING, *IDENTITY)
        first = kept.setdefault((*values_of(record, keys), prompts_text(record)), record)
        if first["accuracy"] != record["accuracy"]:
            log.warning(
                "%s and %s are of the same config and seed but differ in accuracy; the first is used.",
                first["path"],
                record["path"],
            )
    return sorted(kept.values(), key=lambda r: r["path"])


def _with_fewest_options(records: list[dict]) -> list[dict]:
    """Runs of one config may have been started with options that are its defaults: keep the shortest way to say it."""
    shortest: dict[tuple, dict] = {}
    keys = [(r["method"], r["dataset"], r["shots"], r["config_hash"]) for r in records]
    for key, record in zip(keys, records, strict=True):
        options = {k: v for k, v in record.get("options", {}).items() if k not in RECORDED}
        shortest[key] = min(shortest.get(key, options), options, key=len)
    return [{**record, "options": shortest[key]} for key, record in zip(keys, records, strict=True)]


def _checked(path: Path) -> dict:
    record = read_record(path)
    wrong = [
        f"'{key}' is {record[key]!r}, expected {kind[-1].__name__ if isinstance(kind, tuple) else kind.__name__}"
        for key, kind in OPTIONAL.items()
        if key in record and not isinstance(record[key], kind)
    ]
    if not wrong:
        wrong = [
            f"'{place}' is {value!r}, no finite number" for place, value in _numbers(record) if not _is_finite(value)
        ]
        if not isinstance(record.get("environment", {}).get("packages", {}), dict):
            wrong.append("'environment.packages' is no dict")
    if wrong:
        raise ValueError(f"{path} is not a run record of this version: {'; '.join(wrong)}. Delete it and run again.")
    return record


def _numbers(record: dict) -> Iterator[tuple[str, object]]:
    """What must be a number, with its place."""
    yield "accuracy", record["accuracy"]
    for key in NUMBERS:
        content = record.get(key) or {}
        for name, value in content.items() if isinstance(content, dict) else enumerate(content, 1):
            yield f"{key}.{name}", value


def _is_finite(value: object) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool) and math.isfinite(value)
