"""Records for tables, plots and the report: found, checked, each run once, different data under different names."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from simnl.results.bundle import is_bundle
from simnl.results.bundle import read as read_bundle
from simnl.results.tables.records import IDENTITY, SETTING, is_own_data, prompts_text, split_suffix, values_of
from simnl.runs.record import FILE, OWN_IMAGES, UNSEALED, config_of, own_images_name, read_record

log = logging.getLogger(__name__)

SHOWN = 3  # files that a warning names

# Options that stand in records under keys of their own; for one's own images those that say which images they are, too.
RECORDED = ("PRESET", "PROTOCOL", "DATASET.LABEL_NOISE", "DATASET.SUBSAMPLE_CLASSES", "DATASET.NUM_SHOTS", "SEED")
OWN_DATA = ("DATASET.FOLDER", "DATASET.VAL_FRACTION", "DATASET.TEST_FRACTION", "DATASET.SPLIT_FILE")


def find_records(paths: Iterable[str | Path]) -> list[dict]:
    """All valid records at or below the paths, each with the key `path` added. A path may be a bundle of runs.

    A damaged or foreign record is named in a warning and left out.

    Raises:
        FileNotFoundError: a path that is not there, or no record below any of them.
        ValueError: there are records, but none is valid, or a bundle is not sound; the message names them.
    """
    files: list[Path] = []
    records: list[dict] = []
    for given in map(Path, paths):
        if not given.exists():
            raise FileNotFoundError(f"No such file or folder: {given}")
        if is_bundle(given):
            records += [{**record, "path": f"{given}/{name}"} for name, record in read_bundle(given).records()]
        else:
            files += [given] if given.is_file() else sorted(given.rglob(FILE))
    if not (files or records):
        raise FileNotFoundError(
            f"No {FILE} below {', '.join(map(str, paths))}. Run something first, e.g.\n"
            "  bash scripts/simnl/main.sh shapes 16"
        )
    problems = []
    for file in dict.fromkeys(files):
        try:
            records.append({**read_record(file), "path": str(file)})
        except (OSError, ValueError) as error:
            problems.append(str(error))
    if not records:
        raise ValueError("\n".join(["None of the records can be used:", *(f"  {p}" for p in problems)]))
    for problem in problems:
        log.warning("Skipped: %s", problem)
    unsealed = [record["path"] for record in records if record["schema"] == UNSEALED]
    if unsealed:
        log.warning(
            "%d of %d records are of an earlier version, without a check sum, so damage in them cannot be found: %s%s.",
            len(unsealed), len(records), ", ".join(unsealed[:SHOWN]), ", ..." * (len(unsealed) > SHOWN),
        )  # fmt: skip
    return _with_fewest_options(_apart(_once(map(_own_images, records))))


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
    own = [(record["dataset"], record.get("split_origin")) if is_own_data(record) else None for record in records]
    for place, record in zip(own, records, strict=True):
        splits[place].add(record.get("split_hash", ""))
    return [
        {**record, "dataset": record["dataset"] + split_suffix(record)} if place and len(splits[place]) > 1 else record
        for place, record in zip(own, records, strict=True)
    ]


def _once(records: Iterable[dict]) -> list[dict]:
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
