"""Tables of one row per line of csv: the plain list of runs, and layout `cost`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from simnl.results.published.audit import footnotes as marks_text
from simnl.results.stats import interval, mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Cell, Table, text
from simnl.results.tables.records import (
    IDENTITY,
    SETTING,
    by_seed,
    by_setting,
    images_text,
    marks_of_run,
    options_text,
    prompts_text,
    split_by,
    values_of,
    with_targets,
)
from simnl.results.tables.sight import footnotes, marked_name
from simnl.runs.names import dataset_name, display_name

SAME = ("dataset", "method", "shots", *SETTING, *IDENTITY)  # with prompts and options: what runs of one row agree in
SUMMARY = (
    "dataset", "method", "backbone", "shots", "preset", "protocol", "prompts", "variant", "accuracy", "ci95", "seeds",
)  # fmt: skip
FIGURES = ("accuracy", "ci95", "seeds")
HIDDEN = {"weights_fingerprint": "weights", "split_hash": "split", "config_hash": "config"}  # shown where rows need it
COSTS = {  # column: where it stands in a record, decimals
    "trainable parameters": (("trainable_parameters",), 0),
    **{f"{phase} s": (("seconds", phase), 2) for phase in ("features", "train", "select", "test", "total")},
    "peak host MB": (("peak_memory_mb", "host"), 0),
    "peak GPU MB": (("peak_memory_mb", "gpu"), 0),
    "settings tried": (("num_settings",), 0),
    "encoded images": (("encoded_images",), 0),
}
Columns = dict[str, Callable[[dict], Cell]]


def listed(lines: Sequence[dict], columns: Columns, title: str = "", caption: Sequence[str] = ()) -> Table:
    """A table of one row per line and one column per header; csv has the lines without the key `label`."""
    rows = [[cell(line) for cell in columns.values()] for line in lines]
    tidy = [{key: value for key, value in line.items() if key != "label"} for line in lines]
    return Table(title, list(caption), [Block(list(columns), rows)], tidy)


def number(value: float | None, decimals: int = 0) -> Cell:
    """A number with its thousands apart; missing where there is none."""
    return Cell(value, decimals=decimals, grouped=True)


def summarise(records: Sequence[dict], ci: str = "t") -> list[dict]:
    """One row per setting: mean accuracy over the seeds and the half width of its 95 % interval (None for n = 1)."""
    groups = defaultdict(list)
    for record in chain.from_iterable(map(with_targets, records)):
        groups[values_of(record, SAME) + (prompts_text(record), options_text(record))].append(record)
    rows = [(_row(group, ci), group[0]) for group in groups.values()]
    for key, name in HIDDEN.items():
        _tell_apart(rows, key, name)
    order = ("dataset", "backbone", "shots", "method", "preset", "protocol", "variant")
    return sorted((row for row, _ in rows), key=lambda row: [row[key] for key in order])


def _tell_apart(rows: Sequence[tuple[dict, dict]], key: str, name: str) -> None:
    """Add a key of the records to the variants of rows that agree in all that is shown and differ in that key."""
    alike = defaultdict(list)
    for row, first in rows:
        alike[tuple(row[column] for column in SUMMARY if column not in FIGURES)].append((row, str(first.get(key, ""))))
    for same in alike.values():
        if len({value for _, value in same}) > 1:
            for row, value in same:
                row["variant"] = "; ".join(filter(None, [row["variant"], f"{name} {value[:8] or 'unknown'}"]))


def _row(group: Sequence[dict], ci: str) -> dict:
    runs, first = by_seed(group), group[0]
    accuracies = [run["accuracy"] for run in runs.values()]
    unlike = common.unlike_standard(first, "", "{} classes", "{} wrong labels")[::-1]
    images = images_text(first).removesuffix(" per class")
    return {
        **{key: first.get(key, "") for key in SUMMARY},
        "prompts": prompts_text(first),
        "protocol": first["protocol"] + ("" if first.get("split_origin", "standard") == "standard" else " (own split)"),
        "variant": "; ".join(filter(None, [options_text(first), *unlike, images and f"{images} images per class"])),
        "accuracy": mean(accuracies),
        "ci95": interval(accuracies, ci),
        "seeds": " ".join(map(str, runs)),
        "inference": first.get("inference", ""),
        "marks": marks_of_run(first),
    }


def runs_table(rows: Sequence[dict]) -> Table:
    """The rows as a table; the column `variant` only where a run is not a standard one. csv keeps registered names."""
    columns: Columns = {key: partial(_named, key) for key in SUMMARY if key != "ci95"}
    columns["accuracy"] = lambda row: Cell(row["accuracy"], row["ci95"], audit=row["marks"])
    if not any(row["variant"] for row in rows):
        del columns["variant"]
    return listed(
        rows,
        {"accuracy (95 % CI)" if key == "accuracy" else key: cell for key, cell in columns.items()},
        caption=footnotes(rows) + marks_text((row["marks"], display_name(row["method"])) for row in rows),
    )


def _named(key: str, row: dict) -> Cell:
    shown = {"dataset": lambda: dataset_name(row["dataset"]), "method": lambda: marked_name(row)}
    return text(shown[key]() if key in shown else row[key])


def runs_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """The plain list: one row per setting."""
    return [runs_table(summarise(records, request.ci))]


def cost_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """What each method costs: one table per setting, data set, number of shots and device."""
    return [_cost_table(g, request) for g in by_setting(records, also=["dataset", "shots", "device"])]


def labelled_runs(records: Sequence[dict], request: Request) -> list[tuple[str, list[dict]]]:
    """The runs of each method and config, one per seed, with a label that tells configs apart."""
    groups = split_by(records, lambda r: (r["method"], options_text(r), prompts_text(r), r["config_hash"]))
    order = common.method_order((r["method"] for r in records), request.methods)
    runs = sorted((list(by_seed(group).values()) for group in groups), key=lambda of: order.index(of[0]["method"]))
    return [(_config_label(of_row[0], [other[0] for other in runs]), of_row) for of_row in runs]


def _cost_table(records: Sequence[dict], request: Request) -> Table:
    lines = [{**_cost_line(runs), "label": label} for label, runs in labelled_runs(records, request)]
    first = records[0]
    where = f"{dataset_name(first['dataset'])}, {common.shots_title(first['shots'])} ({common.run_title(first)})"
    columns: Columns = {"method": lambda line: text(line["label"])}
    columns |= {name: partial(_cost_cell, name) for name in COSTS}
    caption = [
        common.setting_text(first),
        *common.fewer_images(records),
        *footnotes(records),
        f"Device: {first.get('device') or 'not recorded'}.",
        f"Means over {' or '.join(map(str, sorted({line['n'] for line in lines})))} seeds. Seconds and encoded images "
        "depend on what was in the feature store: the first run on some images encodes them for all others. Memory is "
        "the peak of the process, which may have done other runs before.",
    ]
    return listed(lines, columns, f"Cost on {where}", caption)


def _config_label(first: dict, firsts: Sequence[dict]) -> str:
    """The method, and what tells its row apart from the other rows of the same method."""
    alike = [r for r in firsts if (r["method"], options_text(r)) == (first["method"], options_text(first))]
    parts = [say(first) for say in (prompts_text, lambda r: r["config_hash"]) if len({say(r) for r in alike}) > 1]
    extra = "; ".join(filter(None, [options_text(first), *parts]))
    return marked_name(first) + (f" ({extra})" if extra else "")


def _cost_line(runs: Sequence[dict]) -> dict:
    first = runs[0]
    return {
        "layout": "cost",
        **{key: first[key] for key in ("method", "dataset", "shots")},
        **{key: first.get(key, "") for key in SETTING},
        "options": options_text(first),
        "prompts": prompts_text(first),
        "device": first.get("device", ""),
        "n": len(runs),
        **{name.replace(" ", "_"): _average(runs, path) for name, (path, _) in COSTS.items()},
    }


def _cost_cell(name: str, line: dict) -> Cell:
    return number(line[name.replace(" ", "_")], COSTS[name][1])


def _average(runs: Sequence[dict], path: Sequence[str]) -> float | None:
    """The mean over the runs that have a number there."""
    values: list = list(runs)
    for key in path:
        values = [value.get(key) if isinstance(value, dict) else None for value in values]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return mean(numbers) if numbers else None
