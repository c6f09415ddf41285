"""Layout `ablation`: a method's parts on and off, and the difference to the full method over the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simnl.results.published import AVERAGE
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Stat, Table, figure, mark_columns, text
from simnl.results.tables.paired import difference_cell, differences, draw_of, union
from simnl.results.tables.parts import ADAPTERS, Family, defaults, families, parts_of, switches
from simnl.results.tables.records import GridRow, by_setting, grid, options_text, prompts_text
from simnl.runs.names import display_name

ON, OFF, SOME = "✓", "✗", "✓✗"
MARKS = {True: ON, False: OFF, None: SOME}
HEADERS = {
    "positive weights": "weights+", "negative weights": "weights-",
    **dict(zip(ADAPTERS, ("text+", "cache+", "text-", "cache-"), strict=True)),
}  # fmt: skip
ABOUT = (
    f"{ON} on, {OFF} off. text+, cache+, text-, cache-: the positive and negative text and cache adapters learn (off: "
    "they stay as they start); weights+, weights-: instance reweighting in the positive and the negative cache; "
    "re-ranking, consistency, Eq. 18: losses beside cross-entropy; templates, CuPL: prompts of the positive text "
    "classifier."
)


def ablation_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting, method, number of shots and options that all runs share; one block per data set.

    Raises:
        ValueError: no run without one of a method's parts.
    """
    able = [record for record in records if defaults(record["method"])]
    groups = by_setting(able, also=["method", "shots"])
    tables = [_table(family, request) for group in groups for family in families(group)]
    if not tables:
        raise ValueError(
            "No run of SimNL without one of its parts. Run some first, e.g.\n  bash scripts/simnl/ablation.sh shapes 16"
        )
    return tables


class _Line(NamedTuple):
    """One row of a block: its figure, its difference to the full method (None for that itself), and its parts."""

    row: GridRow
    stat: Stat
    difference: Stat | None
    parts: dict[str, bool | None]


def _table(family: Family, request: Request) -> Table:
    first = family.records[0]
    rows = _grid(family, family.records, request.ci)
    rows.sort(key=lambda row: (len(family.changed(row.first)), _order(row, family), row.label))
    n = common.usual_n(rows)
    paired, note = _paired(family, request.ci)
    datasets = common.dataset_order({r["dataset"] for r in family.records}, request)
    several = len(datasets) > 1
    names = {name: [name] for name in datasets} | ({AVERAGE: datasets} if several else {})
    lines = {name: _lines(rows, paired, family, over, request.ci) for name, over in names.items()}
    lines = {name: of_block for name, of_block in lines.items() if of_block}
    differing = any(None in line.parts.values() for of_block in lines.values() for line in of_block)
    own = () if family.options is not None else switches(first)
    shared = options_text({**first, "options": first["options"] if family.options is None else family.options}, own)
    full = [record for record in family.records if family.is_full(record)]
    return Table(
        title=f"Ablation of {display_name(first['method'])}, {common.shots_title(first['shots'])} "
        f"({common.run_title(first)}): accuracy in %",
        caption=[
            ABOUT,
            *([f"{SOME}: on for some of the data sets, off for the others."] if differing else []),
            *([f"All runs with {shared}."] if shared else []),
            *common.common_caption(full or family.records, rows, request),
            note or _difference_caption(family, len(datasets)),
            *([common.average_caption(len(datasets), "data sets")] if several else []),
        ],
        blocks=[
            _block(of_block, common.block_title(name, len(datasets)), n, family) for name, of_block in lines.items()
        ],
        tidy=[_tidy(line, name, family, request.ci) for name, of_block in lines.items() for line in of_block],
        marked=True,
    )


def _paired(family: Family, ci: str) -> tuple[dict[str, dict[str, Stat]], str]:
    """Differences to the full method by the label of a row and by data set; and why there are none, else nothing.

    They are made from a grid of the same runs, so that the same runs make a row.
    """
    try:
        found = differences(family.records, family.is_full, lambda r: {r["dataset"]: r["accuracy"]})
    except ValueError as error:  # two full methods: each has its row
        return {}, f"Difference: none. {error}"
    of_run = {(r["config_hash"], prompts_text(r), r["seed"]): r["accuracy"] for r in found}
    draws = [(r, draw_of(r)) for r in family.records]
    runs = [{**r, "seed": draw, "accuracy": of_run.get((r["config_hash"], prompts_text(r), draw))} for r, draw in draws]
    by_label = {}
    for row in _grid(family, runs, ci):
        known = {name: {k: v for k, v in stat.by_seed.items() if v is not None} for name, stat in row.stats.items()}
        by_label[row.label] = {name: Stat(values, ci) for name, values in known.items() if values}
    return by_label, ""


def _grid(family: Family, records: Sequence[dict], ci: str) -> list[GridRow]:
    """One row per combination of parts; data sets with and without CuPL sentences share it."""
    return grid(records, lambda r: r["dataset"], ci, family.words, prompts=lambda r: "")


def _order(row: GridRow, family: Family) -> list[int]:
    names = list(parts_of(row.first))
    return [names.index(name) for name in family.changed(row.first)]


def _lines(
    rows: Sequence[GridRow], paired: dict[str, dict[str, Stat]], family: Family, datasets: Sequence[str], ci: str
) -> list[_Line]:
    """Figures of one data set, or the average over several of rows that have all of them."""
    lines, parts = [], _parts(family)
    for row in rows:
        stats, of_row = [row.stats.get(name) for name in datasets], paired.get(row.label, {})
        stat = stats[0] if len(datasets) == 1 else common.average_of(stats, ci)
        if stat:
            found = [of_row[name] for name in datasets if name in of_row]
            places = [(family.words(row.first), name) for name in datasets]
            several = [parts.get((*place, row.first["config_hash"])) or parts[place] for place in places]
            same = {part: on if all(p[part] == on for p in several) else None for part, on in several[0].items()}
            lines.append(_Line(row, stat, union(found) if len(found) == len(datasets) else None, same))
    return lines


def _parts(family: Family) -> dict[tuple[str, ...], dict[str, bool]]:
    """The parts of runs by their words and data set, and by their config, too: a data set may lack CuPL sentences."""
    found: dict[tuple[str, ...], dict[str, bool]] = {}
    for record in family.records:
        place = (family.words(record), record["dataset"])
        found[place + (record["config_hash"],)] = found[place] = parts_of(record)
    return found


def _block(lines: Sequence[_Line], title: str, n: int | None, family: Family) -> Block:
    rows = []
    for line in lines:
        difference = text("") if family.is_full(line.row.first) else difference_cell(line.difference, n)
        marks = [text(MARKS[on]) for on in line.parts.values()]
        rows.append([text(line.row.shown), *marks, figure(line.stat, n), difference])
    headers = ["method", *(HEADERS.get(name, name) for name in lines[0].parts), "accuracy", "difference"]
    return Block(headers, mark_columns(rows), title)


def _difference_caption(family: Family, datasets: int) -> str:
    if family.options is None:
        return "Difference: none, since the full method was not run with these options."
    return (
        "Difference: mean of the accuracy minus that of the full method over the draws (data set, shots, seed, split) "
        f"that both have, with the interval of these differences{', over all data sets' if datasets > 1 else ''}."
    )


def _tidy(line: _Line, dataset: str, family: Family, ci: str) -> dict[str, object]:
    figures = common.tidy("ablation", line.row, line.stat, None, ci, dataset=dataset)
    other = line.difference
    return {
        **{key: value for key, value in figures.items() if not key.startswith(("published", "source", "difference"))},
        **line.parts,
        "full": family.is_full(line.row.first),
        "difference": other.mean if other else None,
        "difference_ci95": other.half if other else None,
        "difference_n": other.n if other else 0,
    }
