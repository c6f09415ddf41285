"""Records for tables: found, checked, filtered, and grouped so that nothing unlike is mixed."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiment.record import FILE, read_record
from experiment.tables.model import Stat

log = logging.getLogger(__name__)

# Keys that tables use where they are there, and the types that they must have.
OPTIONAL = {
    "targets": dict, "options": dict, "prompts": list, "seconds": dict, "peak_memory_mb": dict, "views": dict,
    "weights": str, "weights_fingerprint": str, "split_hash": str, "split_origin": str, "subsample_classes": str,
    "arch": str, "device": str, "num_classes": int, "num_test": int, "label_noise": (int, float),
}  # fmt: skip
# A table holds records that agree in all of these.
SETTING = (
    "backbone", "weights", "weights_fingerprint", "preset", "protocol", "split_origin", "subsample_classes",
    "label_noise",
)  # fmt: skip
# Options that stand in records under keys of their own.
RECORDED = ("PRESET", "PROTOCOL", "DATASET.LABEL_NOISE", "DATASET.SUBSAMPLE_CLASSES", "DATASET.NUM_SHOTS", "SEED")
# Within one row and column, records must agree in these, too.
IDENTITY = ("config_hash", "split_hash")


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
            records.append({**_checked(file), "path": str(file)})
        except (OSError, ValueError) as error:
            problems.append(str(error))
    if not records:
        raise ValueError("\n".join(["None of the records can be used:", *(f"  {p}" for p in problems)]))
    for problem in problems:
        log.warning("Skipped: %s", problem)
    return _with_fewest_options(_once(records))


def _once(records: Sequence[dict]) -> list[dict]:
    """A run that is found twice, e.g. in a copied folder, counts once: the one with most targets, then by path."""
    kept: dict[tuple, dict] = {}
    for record in sorted(records, key=lambda r: (-len(r.get("targets", {})), r["path"])):
        keys = ("method", "dataset", "shots", "seed", *SETTING, *IDENTITY)
        first = kept.setdefault((*(str(record.get(key, "")) for key in keys), prompts_text(record)), record)
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
    figures = [record["accuracy"], *record.get("targets", {}).values()] if not wrong else []
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in figures):
        wrong.append("an accuracy is not a finite number")
    if wrong:
        raise ValueError(f"{path} is not a run record of this version: {'; '.join(wrong)}. Delete it and run again.")
    return record


def with_targets(record: dict) -> list[dict]:
    """The record, and one like it for each shifted data set that the run was tested on."""
    targets = record.get("targets", {})
    return [record, *({**record, "dataset": f"{record['dataset']} -> {t}", "accuracy": a} for t, a in targets.items())]


def comparable(records: Sequence[dict], to: dict) -> list[dict]:
    """The records that may stand in one table with a record: same data, shots, model, preset and protocol."""
    keys = ("dataset", "shots", "weights_fingerprint", "preset", "protocol", "split_hash", "label_noise")
    return [r for r in records if all(r.get(key) == to.get(key) for key in keys)]


def select(records: Sequence[dict], wanted: dict[str, Sequence], known: dict[str, Sequence]) -> list[dict]:
    """The records whose keys have one of the wanted values; an empty list of values: any.

    Args:
        records: at least one.
        wanted: {key: values}.
        known: {key: values} that may be asked for without a record: they show as missing.

    Raises:
        ValueError: a value that no record has, with those that records have; or nothing is left.
    """
    for key, values in wanted.items():
        there = {record[key] for record in records} | set(known.get(key, ()))
        unknown = [value for value in values if value not in there]
        if unknown:
            raise ValueError(f"No record has {key} '{unknown[0]}'. Choose from {', '.join(map(str, sorted(there)))}.")
    kept = [r for r in records if all(not values or r[key] in values for key, values in wanted.items())]
    if not kept:
        raise ValueError(f"No record has all of {', '.join(f'{k} {list(v)}' for k, v in wanted.items() if v)}.")
    return kept


def by_setting(records: Sequence[dict], *, without: Sequence[str] = (), also: Sequence[str] = ()) -> list[list[dict]]:
    """Records split into those that agree in all of SETTING but `without`, plus `also`; in a stable order."""
    keys = [key for key in (*SETTING, *also) if key not in without]
    return _split(records, lambda record: tuple(str(record.get(key, "")) for key in keys))


def _split(records: Iterable[dict], key: Callable[[dict], Hashable]) -> list[list[dict]]:
    groups: dict[Hashable, list[dict]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return [groups[name] for name in sorted(groups)]


@dataclass
class GridRow:
    """One row of a grid: a method under one set of options and prompts; stats by column."""

    method: str
    label: str
    first: dict
    stats: dict[Hashable, Stat]


def options_text(record: dict, ignore: Sequence[str] = ()) -> str:
    """The options of a run as `KEY=value`, without the method's own prefix; empty for a standard run."""
    prefix = f"TRAINER.{record['method'].upper()}."
    options = sorted((k, v) for k, v in record.get("options", {}).items() if k not in ignore)
    return ", ".join(f"{k.removeprefix(prefix)}={v if isinstance(v, str) else json.dumps(v)}" for k, v in options)


def grid(
    records: Sequence[dict],
    column: Callable[[dict], Hashable],
    ci: str,
    describe: Callable[[dict], str] = options_text,
) -> list[GridRow]:
    """Records of one setting as rows (method, options, prompts) by columns.

    Where a cell would hold runs of more than one config or split, each of these gets a row of its own, labelled.

    Args:
        records: of one setting.
        column: the column of a record.
        ci: name of the interval.
        describe: the options of a record that tell rows apart, as text.
    """
    rows = []
    variants = _split(records, lambda r: (r["method"], describe(r), prompts_text(r)))
    several: dict[tuple[str, str], list[list[dict]]] = {}
    for members in variants:
        several.setdefault((members[0]["method"], describe(members[0])), []).append(members)
    for (method, options), same in several.items():
        for members in same:
            extra = [options, prompts_text(members[0]) if len(same) > 1 else ""]
            rows += _rows(method, [e for e in extra if e], members, column, ci)
    return rows


def _rows(method: str, extra: list[str], members: list[dict], column: Callable, ci: str) -> list[GridRow]:
    """One row, and one for each config or split where a cell has several."""
    plain, separate = {}, {}
    for cell in _split(members, lambda r: str(column(r))):
        runs = _split(cell, lambda r: tuple(str(r.get(key, "")) for key in IDENTITY))
        if len(runs) == 1:
            plain[column(cell[0])] = _stat(cell, ci)
            continue
        for run in runs:
            config, split = (str(run[0].get(key, ""))[:8] for key in IDENTITY)
            name = f"config {config}, split {split}" if split else f"config {config}"
            separate.setdefault(name, (run[0], {}))[1][column(run[0])] = _stat(run, ci)
    rows = [GridRow(method, _label(method, extra), members[0], plain)] if plain else []
    return rows + [GridRow(method, _label(method, [*extra, name]), r, s) for name, (r, s) in separate.items()]


def _label(method: str, extra: Sequence[str]) -> str:
    return f"{method} ({'; '.join(extra)})" if extra else method


def _stat(records: Sequence[dict], ci: str) -> Stat:
    return Stat({seed: record["accuracy"] for seed, record in by_seed(records).items()}, ci)


def by_seed(records: Sequence[dict]) -> dict[int, dict]:
    """One record per seed, in the order of the seeds."""
    return {record["seed"]: record for record in sorted(records, key=lambda r: r["seed"])}


def prompts_text(record: dict) -> str:
    """`cupl+template`."""
    if record.get("prompts") == []:
        return "no templates"  # of a method that learns its prompts or uses no text
    return "+".join(map(str, record.get("prompts", [])))


def is_clean(record: dict) -> bool:
    """True for a run on the standard split, all classes, and right labels."""
    return (
        record.get("split_origin", "standard") == "standard"
        and record.get("subsample_classes", "all") == "all"
        and not record.get("label_noise")
    )


def is_standard(record: dict) -> bool:
    """True for a run that may be compared with published accuracies: clean, and without options."""
    return is_clean(record) and not record.get("options")
