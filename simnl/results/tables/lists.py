"""Tables of one row per line of csv: the plain list of runs, and layout `cost`."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence

from simnl.results.stats import interval, mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Cell, Table, text
from simnl.results.tables.records import (
    SETTING,
    by_seed,
    by_setting,
    images_text,
    options_text,
    prompts_text,
    values_of,
    with_targets,
)
from simnl.results.tables.render import render_tables
from simnl.results.tables.terminal import FULL
from simnl.runs.names import dataset_name, display_name

SAME = (
    "dataset", "method", "backbone", "weights", "weights_fingerprint", "shots", "preset", "protocol", "split_origin",
    "split_hash", "subsample_classes", "label_noise", "config_hash",
)  # fmt: skip
SUMMARY = (
    "dataset", "method", "backbone", "shots", "preset", "protocol", "prompts", "variant", "accuracy", "ci95", "seeds",
)  # fmt: skip
FIGURES = ("accuracy", "ci95", "seeds")
HIDDEN = {"weights_fingerprint": "weights", "split_hash": "split", "config_hash": "config"}  # shown where rows need it
NAMES = {"dataset": dataset_name, "method": display_name}
PHASES = ("features", "train", "select", "test", "total")
COSTS = {  # column: where it stands in a record, decimals
    "trainable parameters": (("trainable_parameters",), 0),
    **{f"{phase} s": (("seconds", phase), 2) for phase in PHASES},
    "peak host MB": (("peak_memory_mb", "host"), 0),
    "peak GPU MB": (("peak_memory_mb", "gpu"), 0),
    "settings tried": (("num_settings",), 0),
    "encoded images": (("encoded_images",), 0),
}


def listed(
    lines: Sequence[dict],
    columns: dict[str, Callable[[dict], Cell]],
    title: str = "",
    caption: Sequence[str] = (),
    unsaid: Sequence[str] = (),
) -> Table:
    """A table of one row per line and one column per header; csv has the lines without the keys `unsaid`."""
    rows = [[cell(line) for cell in columns.values()] for line in lines]
    tidy = [{key: value for key, value in line.items() if key not in unsaid} for line in lines]
    return Table(title, list(caption), [Block(list(columns), rows)], tidy)


def number(value: float | None, decimals: int = 0) -> Cell:
    """A number with its thousands apart; missing where there is none."""
    return Cell(value, decimals=decimals, grouped=True)


def summarise(records: Sequence[dict], ci: str = "t") -> list[dict]:
    """One row per setting: mean accuracy over the seeds and the half width of its 95 % interval (None for n = 1)."""
    groups = defaultdict(list)
    for record in itertools.chain.from_iterable(map(with_targets, records)):
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
    return {
        **{key: first.get(key, "") for key in SUMMARY},
        "prompts": prompts_text(first),
        "protocol": first["protocol"] + ("" if first.get("split_origin") == "standard" else " (own split)"),
        "variant": _variant(first),
        "accuracy": mean(accuracies),
        "ci95": interval(accuracies, ci),
        "seeds": " ".join(map(str, runs)),
    }


def _variant(record: dict) -> str:
    """What sets a run apart from a standard one: options, wrong labels, a part of the classes, too few images."""
    parts = common.unlike_standard(record, "", "{} classes", "{} wrong labels")[::-1]
    images = images_text(record)
    parts += [f"{images.removesuffix(' per class')} images per class"] if images else []
    return "; ".join(filter(None, [options_text(record), *parts]))


def runs_table(rows: Sequence[dict]) -> Table:
    """The rows as a table; the column `variant` only where a run is not a standard one. csv keeps registered names."""
    columns = {key: _summary_column(key) for key in SUMMARY if key != "ci95"}
    if not any(row["variant"] for row in rows):
        del columns["variant"]
    columns["accuracy"] = lambda row: Cell(row["accuracy"], row["ci95"])
    headers = {"accuracy": "accuracy (95 % CI)"}
    return listed(rows, {headers.get(key, key): cell for key, cell in columns.items()})


def _summary_column(key: str) -> Callable[[dict], Cell]:
    return lambda row: text(NAMES.get(key, str)(row[key]))


def render(rows: Sequence[dict], fmt: str, width: int = FULL) -> str:
    """The rows as text.

    Raises:
        ValueError: unknown format.
    """
    return render_tables([runs_table(rows)], fmt, width)


def cost_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """What each method costs: one table per setting, data set, number of shots and device."""
    return [_cost_table(g, request) for g in by_setting(records, also=["dataset", "shots", "device"])]


def labelled_runs(records: Sequence[dict], request: Request) -> list[tuple[str, list[dict]]]:
    """The runs of each method and config, one per seed, with a label that tells configs apart."""
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        key = (record["method"], options_text(record), prompts_text(record), record["config_hash"])
        groups.setdefault(key, []).append(record)
    order = common.method_order((key[0] for key in groups), request.methods)
    keys = sorted(groups, key=lambda key: (order.index(key[0]), key))
    return [(_config_label(key, groups), list(by_seed(groups[key]).values())) for key in keys]


def _cost_table(records: Sequence[dict], request: Request) -> Table:
    lines = [_cost_line(label, runs) for label, runs in labelled_runs(records, request)]
    first = records[0]
    where = f"{dataset_name(first['dataset'])}, {common.shots_title(first['shots'])} ({common.run_title(first)})"
    columns: dict[str, Callable[[dict], Cell]] = {"method": lambda line: text(line["label"])}
    columns |= {name: _cost_column(name.replace(" ", "_"), decimals) for name, (_, decimals) in COSTS.items()}
    caption = [
        common.setting_text(first),
        *common.fewer_images(records),
        f"Device: {first.get('device') or 'not recorded'}.",
        f"Means over {' or '.join(map(str, sorted({line['n'] for line in lines})))} seeds. Seconds and encoded images "
        "depend on what was in the feature store: the first run on some images encodes them for all others. Memory is "
        "the peak of the process, which may have done other runs before.",
    ]
    return listed(lines, columns, f"Cost on {where}", caption, unsaid=["label"])


def _config_label(key: tuple, groups: dict[tuple, list[dict]]) -> str:
    """The method, and what tells it apart from the other rows of the same method."""
    same = [other for other in groups if other[0] == key[0]]
    parts = [key[1], *(key[i] for i in (2, 3) if len({o[i] for o in same if o[1] == key[1]}) > 1)]
    extra = "; ".join(part for part in parts if part)
    return display_name(key[0]) + (f" ({extra})" if extra else "")


def _cost_line(label: str, runs: Sequence[dict]) -> dict:
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
        "label": label,
    }


def _cost_column(key: str, decimals: int) -> Callable[[dict], Cell]:
    return lambda line: number(line[key], decimals)


def _average(runs: Sequence[dict], path: Sequence[str]) -> float | None:
    """The mean over the runs that have a number there."""
    values: list = list(runs)
    for key in path:
        values = [value.get(key) if isinstance(value, dict) else None for value in values]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return mean(numbers) if numbers else None
