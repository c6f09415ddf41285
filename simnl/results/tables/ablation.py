"""Layout `ablation`: a method's parts on and off, and the difference to the full method over the same draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from simnl.results.published import AVERAGE
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Stat, Table, figure, mark_columns, text
from simnl.results.tables.paired import baseline_by_draw, difference_cell, draw_of, union
from simnl.results.tables.parts import ADAPTERS, Family, defaults, families, parts_of, switches
from simnl.results.tables.records import GridRow, by_setting, grid, options_text
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
    paired, difference = _paired(family, request.ci)
    datasets = common.dataset_order({r["dataset"] for r in family.records}, request)
    parts, over = _parts(family), datasets if len(datasets) > 1 else []
    own = () if family.options is not None else switches(first)
    shared = options_text({**first, "options": first["options"] if family.options is None else family.options}, own)
    full = [record for record in family.records if family.is_full(record)]
    title = f"Ablation of {display_name(first['method'])}, {common.shots_title(first['shots'])}"
    table = Table(f"{title} ({common.run_title(first)}): accuracy in %", marked=True)
    for name, names in [*((name, [name]) for name in datasets), *([(AVERAGE, datasets)] if over else [])]:
        found = [_line(row, paired.get(row.label, {}), parts, names, request.ci) for row in rows]
        if lines := [line for line in found if line]:
            table.blocks.append(_block(lines, common.block_title(name, len(datasets)), n, family))
            table.tidy += [_tidy(line, name, family, request.ci) for line in lines]
    differing = any(cell.text == SOME for block in table.blocks for row in block.rows for cell in row)
    table.caption = [
        ABOUT,
        *([f"{SOME}: on for some of the data sets, off for the others."] if differing else []),
        *([f"All runs with {shared}."] if shared else []),
        *common.common_caption(full or family.records, rows, request),
        difference + (", over all data sets." if over and paired else "." if paired else ""),
        *([common.average_caption(len(datasets), "data sets")] if over else []),
    ]
    return table


def _paired(family: Family, ci: str) -> tuple[dict[str, dict[str, Stat]], str]:
    """Differences to the full method by the label of a row and by data set; and what they are, or why there are none.

    They are made from a grid of the same runs, so that the same runs make a row.
    """
    if family.options is None:
        return {}, "Difference: none, since the full method was not run with these options."
    try:
        baseline = baseline_by_draw(family.records, family.is_full)
    except ValueError as error:  # two full methods: each has its row
        return {}, f"Difference: none. {error}"
    by_label = {}
    for row in _grid(family, [{**record, "seed": draw_of(record)} for record in family.records], ci):
        by_label[row.label] = (
            {}
            if family.is_full(row.first)
            else {
                name: Stat({d: a - baseline[d]["accuracy"] for d, a in stat.by_seed.items() if d in baseline}, ci)
                for name, stat in row.stats.items()
                if stat.by_seed.keys() & baseline.keys()
            }
        )
    return by_label, (
        "Difference: mean of the accuracy minus that of the full method over the draws (data set, shots, seed, split) "
        "that both have, with the interval of these differences"
    )


def _grid(family: Family, records: Sequence[dict], ci: str) -> list[GridRow]:
    """One row per combination of parts; data sets with and without CuPL sentences share it."""
    return grid(records, lambda r: r["dataset"], ci, family.words, prompts=lambda r: "")


def _order(row: GridRow, family: Family) -> list[int]:
    names = list(parts_of(row.first))
    return [names.index(name) for name in family.changed(row.first)]


def _line(row: GridRow, paired: dict[str, Stat], parts: Callable, datasets: Sequence[str], ci: str) -> _Line | None:
    """Figures of one data set, or the average over several; None for a row that has not all of them."""
    stats = [row.stats.get(name) for name in datasets]
    stat = stats[0] if len(stats) == 1 else common.average_of(stats, ci)
    if stat is None:
        return None
    found = [paired[name] for name in datasets if name in paired]
    several = [parts(row, name) for name in datasets]
    same = {part: on if all(p[part] == on for p in several) else None for part, on in several[0].items()}
    return _Line(row, stat, union(found) if len(found) == len(datasets) else None, same)


def _parts(family: Family) -> Callable[[GridRow, str], dict[str, bool]]:
    """The parts of a row's runs on a data set, which may lack CuPL sentences; of its config where that has runs."""
    found: dict[tuple[str, ...], dict[str, bool]] = {}
    for record in family.records:
        place = (family.words(record), record["dataset"])
        found[place + (record["config_hash"],)] = found[place] = parts_of(record)

    def of_row(row: GridRow, dataset: str) -> dict[str, bool]:
        place = (family.words(row.first), dataset)
        return found.get(place + (row.first["config_hash"],)) or found[place]

    return of_row


def _block(lines: Sequence[_Line], title: str, n: int | None, family: Family) -> Block:
    rows = []
    for line in lines:
        difference = text("") if family.is_full(line.row.first) else difference_cell(line.difference, n)
        marks = [text(MARKS[on]) for on in line.parts.values()]
        rows.append([text(line.row.shown), *marks, figure(line.stat, n), difference])
    headers = ["method", *(HEADERS.get(name, name) for name in lines[0].parts), "accuracy", "difference"]
    return Block(headers, mark_columns(rows), title)


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
