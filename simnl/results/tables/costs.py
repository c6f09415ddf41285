"""Layout `cost`: what each method costs, from the records of its runs."""

from __future__ import annotations

from collections.abc import Sequence

from simnl.results.stats import mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Cell, Row, Table, text
from simnl.results.tables.records import SETTING, by_seed, by_setting, options_text, prompts_text
from simnl.runs.names import dataset_name, display_name

PHASES = ("features", "train", "select", "test", "total")
COLUMNS = {
    "trainable parameters": 0, **{f"{phase} s": 2 for phase in PHASES}, "peak host MB": 0, "peak GPU MB": 0,
    "settings tried": 0, "encoded images": 0,
}  # fmt: skip


def cost_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting, data set, number of shots and device."""
    return [_table(g, request) for g in by_setting(records, also=["dataset", "shots", "device"])]


def _table(records: Sequence[dict], request: Request) -> Table:
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        key = (record["method"], options_text(record), prompts_text(record), record["config_hash"])
        groups.setdefault(key, []).append(record)
    order = common.method_order((key[0] for key in groups), request.methods)
    rows, tidy = [], []
    for key in sorted(groups, key=lambda key: (order.index(key[0]), key)):
        runs = list(by_seed(groups[key]).values())
        values = _costs(runs)
        rows.append(_row(_label(key, groups), values))
        tidy.append(_tidy(key, runs, values))
    first = records[0]
    where = f"{dataset_name(first['dataset'])}, {common.shots_title(first['shots'])} ({common.run_title(first)})"
    counts = sorted({len(by_seed(group)) for group in groups.values()})
    return Table(
        title=f"Cost on {where}",
        caption=[
            common.setting_text(first),
            *common.fewer_images(records),
            f"Device: {first.get('device') or 'not recorded'}.",
            f"Means over {' or '.join(map(str, counts))} seeds. Seconds and encoded images depend on what was in the "
            "feature store: the first run on some images encodes them for all others. Memory is the peak of the "
            "process, which may have done other runs before.",
        ],
        blocks=[Block(["method", *COLUMNS], rows)],
        tidy=tidy,
    )


def _label(key: tuple, groups: dict[tuple, list[dict]]) -> str:
    """The method, and what tells it apart from the other rows of the same method."""
    same = [other for other in groups if other[0] == key[0]]
    parts = [key[1], *(key[i] for i in (2, 3) if len({o[i] for o in same if o[1] == key[1]}) > 1)]
    extra = "; ".join(part for part in parts if part)
    return display_name(key[0]) + (f" ({extra})" if extra else "")


def _costs(runs: Sequence[dict]) -> dict[str, float | None]:
    def average(*path: str) -> float | None:
        values = [_at(run, path) for run in runs]
        numbers = [float(v) for v in values if isinstance(v, int | float)]
        return mean(numbers) if numbers else None

    return {
        "trainable parameters": average("trainable_parameters"),
        **{f"{phase} s": average("seconds", phase) for phase in PHASES},
        "peak host MB": average("peak_memory_mb", "host"),
        "peak GPU MB": average("peak_memory_mb", "gpu"),
        "settings tried": average("num_settings"),
        "encoded images": average("encoded_images"),
    }


def _at(record: dict, path: Sequence[str]) -> object:
    value: object = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _row(label: str, values: dict[str, float | None]) -> Row:
    return [text(label), *(Cell(values[name], decimals=decimals, grouped=True) for name, decimals in COLUMNS.items())]


def _tidy(key: tuple, runs: Sequence[dict], values: dict[str, float | None]) -> dict[str, object]:
    first = runs[0]
    return {
        "layout": "cost",
        "method": key[0],
        "dataset": first["dataset"],
        "shots": first["shots"],
        **{name: first.get(name, "") for name in SETTING},
        "options": key[1],
        "prompts": key[2],
        "device": first.get("device", ""),
        "n": len(runs),
        **{name.replace(" ", "_"): value for name, value in values.items()},
    }
