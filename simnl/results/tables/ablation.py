"""Layout `ablation`: a method's parts on and off, and the difference to the full method over the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simnl.results.published import AVERAGE
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Line, Listing, columns_of
from simnl.results.tables.model import Stat, figure, text
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


class Ablation(NamedTuple):
    """The runs of one table.

    Attributes:
        family: the full method and the runs that lack parts of it.
        rows: a row per combination of parts, the full method first.
        paired: differences to the full method by label of the row and by data set.
        about: the sentence that says what these are, or why there are none.
        datasets: the data sets, in their order.
    """

    family: Family
    rows: list[GridRow]
    paired: dict[str, dict[str, Stat]]
    about: str
    datasets: list[str]


def _groups(records: Sequence[dict], request: Request) -> list[Ablation]:
    """One per setting, method, number of shots and options that all runs share."""
    able = [record for record in records if defaults(record["method"])]
    groups = by_setting(able, also=["method", "shots"])
    return [_ablation(family, request) for group in groups for family in families(group)]


def _ablation(family: Family, request: Request) -> Ablation:
    rows = _grid(family, family.records, request.ci)
    order = list(parts_of(family.records[0]))
    changed = {row.label: [order.index(name) for name in family.changed(row.first)] for row in rows}
    rows.sort(key=lambda row: (len(changed[row.label]), changed[row.label], row.label))
    datasets = common.dataset_order({r["dataset"] for r in family.records}, request)
    return Ablation(family, rows, *_paired(family, request.ci), datasets)


def _lines(group: Ablation, request: Request) -> list[Line]:
    """The rows of each data set, and where there are several, of their average."""
    datasets = group.datasets
    blocks = [(name, [name]) for name in datasets] + ([(AVERAGE, datasets)] if len(datasets) > 1 else [])
    found = [_line(group, row, *block, request.ci) for block in blocks for row in group.rows]
    return [line for line in found if line]


def _line(group: Ablation, row: GridRow, name: str, datasets: Sequence[str], ci: str) -> Line | None:
    """Figures of one data set, or the average over several; None for a row that has not all of them."""
    stats = [row.stats.get(name) for name in datasets]
    stat = stats[0] if len(stats) == 1 else common.average_of(stats, ci)
    if stat is None:
        return None
    paired, n, is_full = group.paired.get(row.label, {}), common.usual_n(group.rows), group.family.is_full(row.first)
    known = [paired[name] for name in datasets if name in paired]
    difference = union(known) if len(known) == len(datasets) else None
    several = [_parts(group.family, row, name) for name in datasets]
    same = {part: on if all(p[part] == on for p in several) else None for part, on in several[0].items()}
    cells = {part: text(MARKS[on]) for part, on in same.items()}
    cells |= {"accuracy": figure(stat, n), "difference": text("") if is_full else difference_cell(difference, n)}
    tidy = {
        **common.tidy("ablation", row, stat, ci, dataset=name),
        **same,
        "full": is_full,
        "difference": difference and difference.mean,
        "difference_ci95": difference and difference.half,
        "difference_n": difference.n if difference else 0,
    }
    return Line(row.shown, cells, [tidy], common.block_title(name, len(group.datasets)))


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
    by_label = {
        row.label: {
            name: Stat({d: a - baseline[d]["accuracy"] for d, a in stat.by_seed.items() if d in baseline}, ci)
            for name, stat in row.stats.items()
            if stat.by_seed.keys() & baseline.keys()
        }
        for row in _grid(family, [{**record, "seed": draw_of(record)} for record in family.records], ci)
        if not family.is_full(row.first)
    }
    return by_label, (
        "Difference: mean of the accuracy minus that of the full method over the draws (data set, shots, seed, split) "
        "that both have, with the interval of these differences"
    )


def _grid(family: Family, records: Sequence[dict], ci: str) -> list[GridRow]:
    """One row per combination of parts; data sets with and without CuPL sentences share it."""
    return grid(records, lambda r: r["dataset"], ci, family.words, prompts=lambda r: "")


def _parts(family: Family, row: GridRow, dataset: str) -> dict[str, bool]:
    """The parts of a row's runs on a data set, which may lack CuPL sentences; of its config where that has runs."""
    words = family.words(row.first)
    there = [r for r in family.records if r["dataset"] == dataset and family.words(r) == words]
    same = [r for r in there if r["config_hash"] == row.first["config_hash"]]
    return parts_of((same or there)[-1])


def _caption(group: Ablation, lines: Sequence[Line], request: Request) -> list[str]:
    family, first, several = group.family, group.family.records[0], len(group.datasets) > 1
    own = () if family.options is not None else switches(first)
    shared = options_text({**first, "options": first["options"] if family.options is None else family.options}, own)
    full = [record for record in family.records if family.is_full(record)]
    differing = any(cell.text == SOME for line in lines for cell in line.cells.values())
    return [
        ABOUT,
        *([f"{SOME}: on for some of the data sets, off for the others."] if differing else []),
        *([f"All runs with {shared}."] if shared else []),
        *common.common_caption(full or family.records, group.rows, request),
        group.about + (", over all data sets." if several and group.paired else "." if group.paired else ""),
        *([common.average_caption(len(group.datasets), "data sets")] if several else []),
    ]


def _title(group: Ablation, request: Request) -> str:
    first = group.family.records[0]
    what = f"Ablation of {display_name(first['method'])}, {common.shots_title(first['shots'])}"
    return f"{common.titled(what, first)}: accuracy in %"


ABLATION = Listing(
    groups=_groups,
    lines=_lines,
    columns=lambda group, lines: columns_of({column: HEADERS.get(column, column) for column in lines[0].cells}),
    title=_title,
    caption=_caption,
    marked=True,
    missing="No run of SimNL without one of its parts. Run some first, e.g.\n"
    "  bash scripts/simnl/ablation.sh shapes 16",
)
