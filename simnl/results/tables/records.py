"""Records for tables: filtered, and grouped so that nothing unlike is mixed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from simnl.fewshot.capabilities import CROSS, INFERENCE
from simnl.results.published import ARROW
from simnl.results.published.audit import imported_has_protocol, marks_of_imported
from simnl.results.tables.model import Stat
from simnl.runs.names import display_name
from simnl.runs.record import OWN_IMAGES, config_of

# A table holds records that agree in all of these.
SETTING = (
    "backbone", "weights", "weights_fingerprint", "preset", "protocol", "split_origin", "subsample_classes",
    "label_noise",
)  # fmt: skip
# Within one row and column, records must agree in these, too.
IDENTITY = ("config_hash", "split_hash")
COLUMN = "column"  # key of a record in a layout: the column of its figure
OWN_SETTING = "own_setting"  # of an imported run in a table of ours: what it says of its setting itself
IMPORTED = "imported"  # the preset of runs whose records were made from the logs of other programs
SIGHT = {"transductive": "†", "online": "‡"}  # behind the names of methods that look at the test images


def with_targets(record: dict) -> list[dict]:
    """The record, and one like it for each shifted data set that the run was tested on."""
    targets = record.get("targets", {})
    return [
        record,
        *({**record, "dataset": f"{record['dataset']}{ARROW}{t}", "accuracy": a} for t, a in targets.items()),
    ]


def comparable(records: Sequence[dict], to: dict) -> list[dict]:
    """The records that may stand in one table with a record: same data, shots, model, preset and protocol."""
    keys = ("shots", "weights_fingerprint", "preset", "protocol", "split_hash", "label_noise", "subsample_classes")
    name = name_without_split(to)  # records that were found with others may name their split
    return [r for r in records if name_without_split(r) == name and all(r.get(k) == to.get(k) for k in keys)]


def name_without_split(record: dict) -> str:
    """The data set's name, whether or not records of other splits stood beside it."""
    return record["dataset"].removesuffix(split_suffix(record))


def split_suffix(record: dict) -> str:
    """What tells a data set of the same name and another split apart."""
    return f"@{record.get('split_hash', '')[:8]}"


def select(records: Sequence[dict], wanted: dict[str, Sequence], known: dict[str, Sequence]) -> list[dict]:
    """The records whose keys have one of the wanted values; an empty list of values: any.

    Args:
        records: one record or more.
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
        asked = ", ".join(f"{key} {' or '.join(map(str, values))}" for key, values in wanted.items() if values)
        raise ValueError(f"No run has all of this: {asked}.")
    return kept


def by_setting(records: Sequence[dict], *, without: Sequence[str] = (), also: Sequence[str] = ()) -> list[list[dict]]:
    """Records split into those that agree in all of SETTING but `without`, plus `also`; in a stable order."""
    keys = [key for key in (*SETTING, *also) if key not in without]
    return split_by(records, lambda record: values_of(record, keys))


def values_of(record: dict, keys: Iterable[str]) -> tuple[str, ...]:
    """What a record has under keys, as text, to tell records apart. Weights are known by their fingerprint where there
    is one: the same file may lie at two places."""
    unsaid = {"weights"} if record.get("weights_fingerprint") else set()
    return tuple("" if key in unsaid else str(record.get(key, "")) for key in keys)


def split_by(records: Iterable[dict], key: Callable[[dict], Any]) -> list[list[dict]]:
    """The records of each value of a key, in the order of the values."""
    groups: dict[Any, list[dict]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return [groups[name] for name in sorted(groups)]


@dataclass
class GridRow:
    """One row of a grid: a method under one set of options and prompts; figures and their runs by column."""

    method: str
    label: str  # the method, and in brackets what tells its rows apart
    shown: str  # the same with the method's display name
    first: dict
    stats: dict[Any, Stat]
    runs: dict[Any, list[dict]]


def node_of(record: dict) -> str:
    """What the keys of the method's own options begin with: `TRAINER.SIMNL.`."""
    return f"TRAINER.{record['method'].upper()}."


def options_text(record: dict, ignore: Sequence[str] = ()) -> str:
    """The options of a run as `KEY=value`, without the method's own prefix; empty for a standard run."""
    prefix = node_of(record)
    options = sorted((k, v) for k, v in record.get("options", {}).items() if k not in ignore)
    return ", ".join(f"{k.removeprefix(prefix)}={v if isinstance(v, str) else json.dumps(v)}" for k, v in options)


def prompts_text(record: dict) -> str:
    """`cupl+template`."""
    if record.get("prompts") == []:
        return "no templates"  # the method learns its prompts or uses no text
    return "+".join(map(str, record.get("prompts", [])))


def grid(
    records: Sequence[dict],
    column: Callable[[dict], Any],
    ci: str,
    describe: Callable[[dict], str] = options_text,
    prompts: Callable[[dict], str] = prompts_text,
) -> list[GridRow]:
    """Records of one setting as rows (method, options, prompts) by columns.

    Where a cell would hold runs of more than one config or split, each of these gets a row of its own, labelled.

    Args:
        records: the records of one setting.
        column: the column of a record.
        ci: name of the interval.
        describe, prompts: the options and the prompts of a record that tell rows apart, as text.
    """

    def kind(record: dict) -> tuple[str, str, str]:
        return record["method"], IMPORTED if is_imported(record) else "", describe(record)

    rows = []
    for alike in split_by(records, kind):
        variants = split_by(alike, prompts)
        for members in variants:
            words = [*kind(members[0])[1:], prompts(members[0]) if len(variants) > 1 else ""]
            rows += _rows(words, members, column, ci)
    return rows


def _rows(words: list[str], members: list[dict], column: Callable, ci: str) -> list[GridRow]:
    """One row, and one for each config or split where a cell has several."""
    rows: dict[str, GridRow] = {}
    for cell in split_by(members, lambda r: str(column(r))):
        runs = split_by(cell, lambda r: values_of(r, IDENTITY))
        for run in runs:
            config, split = (str(run[0].get(key, ""))[:8] for key in IDENTITY)
            name = "" if len(runs) == 1 else f"config {config}" + (split and f", split {split}")
            first, method = run[0] if name else members[0], run[0]["method"]
            extra = "; ".join(filter(None, [*words, name]))
            behind = f" ({extra})" if extra else ""
            row = rows.setdefault(name, GridRow(method, method + behind, marked_name(first) + behind, first, {}, {}))
            row.stats[column(run[0])], row.runs[column(run[0])] = _stat(run, ci), run
    return [rows[name] for name in sorted(rows, key=bool)]


def _stat(records: Sequence[dict], ci: str) -> Stat:
    first, marks = records[0], marks_of_run(records[0])
    images, ranked = images_text(first) if no_class_has_enough(first) else "", not (sight_of(first) or marks)
    accuracies = {seed: record["accuracy"] for seed, record in by_seed(records).items()}
    return Stat(accuracies, ci, str(first.get("split_hash", "")), images, ranked=ranked, audit=marks)


def by_seed(records: Sequence[dict]) -> dict[int, dict]:
    """One record per seed, in the order of the seeds."""
    return {record["seed"]: record for record in sorted(records, key=lambda r: r["seed"])}


def images_text(record: dict) -> str:
    """How many training images the classes had, where some had fewer than shots: `32 per class`; else empty."""
    fewest, most = _images(record)
    if not fewest or fewest >= record["shots"]:
        return ""
    return f"{fewest:g} per class" if fewest == most else f"{fewest:g} to {most:g} per class"


def no_class_has_enough(record: dict) -> bool:
    """True where every class had fewer training images than shots: the number of shots says something else then."""
    fewest, most = _images(record)
    return bool(fewest) and most < record["shots"]


def _images(record: dict) -> tuple[float, float]:
    """Training images of the class with the fewest and of that with the most; (0, 0) where none were used.

    Older records know the mean alone: it is taken where it is far below the number of shots.
    """
    known = record.get("images_per_class")
    if known:
        return min(known), max(known)
    mean = round(record.get("num_train", 0) / max(record.get("num_classes", 0), 1), 1)
    return (mean, mean) if mean <= record["shots"] / 2 else (0, 0)


def is_imported(record: dict) -> bool:
    """True for a run whose record was made from the log of another program."""
    return IMPORTED in record


def own_setting(record: dict) -> dict:
    """The record with what it says of its setting itself, where it stands in a table of another one."""
    return {**record, **record.get(OWN_SETTING, {})}


def marks_of_run(record: dict) -> str:
    """The letters above the figure of an imported run; none for a run of ours."""
    return marks_of_imported(*_audited(record)) if is_imported(record) else ""


def equals(record: dict, protocol: str) -> bool:
    """True where an imported run is known to have a protocol that equals one of ours."""
    return imported_has_protocol(*_audited(record), protocol)


def _audited(record: dict) -> tuple[str, str, str, str]:
    """The method of a run's figure, and its data set, task and protocol, as the audit names them."""
    place = str(record.get(COLUMN, record["dataset"]))
    _, arrow, target = place.partition(ARROW)
    if arrow:
        task = "cross" if target.startswith(CROSS) else "targets"
    else:
        place, task = record["dataset"], "fewshot" if record.get("subsample_classes", "all") == "all" else "base2new"
    return record["method"], place, task, own_setting(record)["protocol"]


def sight_of(record: dict) -> str:
    """The mark of a method that looks at the test images; empty where each stood alone, as in all older records."""
    return SIGHT.get(record.get("inference", ""), "")


def marked_name(record: dict) -> str:
    """The display name of a run's method, with that mark."""
    return display_name(record["method"]) + sight_of(record)


def sight_notes(records: Iterable[dict]) -> list[str]:
    """What those marks of these runs mean, in plain words; nothing where there is none."""
    there = {record.get("inference", "") for record in records}
    found = [f"{mark} ({kind}): {INFERENCE[kind]}" for kind, mark in SIGHT.items() if kind in there]
    return [f"{'; '.join(found)}. Such figures are not ranked with the others."] if found else []


def is_own_data(record: dict) -> bool:
    """True for data of one's own: a folder of images, or a split that was made here."""
    return config_of(record["dataset"]) == OWN_IMAGES or record.get("split_origin", "standard") != "standard"


def without_studies(records: Sequence[dict]) -> list[dict]:
    """The runs without options of their own and without wrong labels."""
    return [r for r in records if not r.get("options") and not r.get("label_noise")]


def is_clean(record: dict, classes: str = "all") -> bool:
    """True for a run on the standard split, all or a part of the classes, and right labels."""
    place = record.get("split_origin", "standard"), record.get("subsample_classes", "all")
    return place == ("standard", classes) and not record.get("label_noise")


def is_standard(record: dict, classes: str = "all") -> bool:
    """True for a run that may be compared with published accuracies: clean, and without options."""
    return is_clean(record, classes) and not record.get("options")
