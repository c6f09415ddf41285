"""Layout `ablation`: a method's parts on and off, and the difference to the full method over the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Line, Listing, columns_of
from simnl.results.tables.model import Stat, figure, text
from simnl.results.tables.paired import baseline_by_draw, difference_cell, draw_of
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
DIFFERENCE = (
    "Difference: mean of the accuracy minus that of the full method over the draws (data set, shots, seed, split) that "
    "both have, with the interval of these differences"
)


class Ablation(NamedTuple):
    """The runs of one table.

    Attributes:
        family: the full method and the runs that lack parts of it.
        rows: a row per combination of parts, the full method first.
        baseline: the runs of the full method by draw; empty where there are no differences to it.
        why_none: the sentence that says why there are none.
        datasets: the data sets, in their order.
    """

    family: Family
    rows: list[GridRow]
    baseline: dict[tuple, dict]
    why_none: str
    datasets: list[str]


def _groups(records: Sequence[dict], request: Request) -> list[Ablation]:
    """One per setting, method, number of shots and options that all runs share."""
    able = [record for record in records if defaults(record["method"])]
    groups = by_setting(able, also=["method", "shots"])
    return [_ablation(family, request) for group in groups for family in families(group)]


def _ablation(family: Family, request: Request) -> Ablation:
    # one row per combination of parts; data sets with and without CuPL sentences share it
    rows = grid(family.records, lambda r: r["dataset"], request.ci, family.words, prompts=lambda r: "")
    order = list(parts_of(family.records[0]))
    changed = {row.label: [order.index(name) for name in family.changed(row.first)] for row in rows}
    rows.sort(key=lambda row: (len(changed[row.label]), changed[row.label], row.label))
    baseline, why_none = {}, "Difference: none, since the full method was not run with these options."
    if family.options is not None:
        try:
            baseline = baseline_by_draw(family.records, family.is_full)
        except ValueError as error:  # two full methods: each has its row
            why_none = f"Difference: none. {error}"
    datasets = common.dataset_order({r["dataset"] for r in family.records}, request)
    return Ablation(family, rows, baseline, why_none, datasets)


def _lines(group: Ablation, request: Request) -> list[Line]:
    """The rows of each data set, and where there are several, of their average; none for a row without all of them."""
    lines = []
    for name, datasets in common.with_average(group.datasets).items():
        for row in group.rows:
            stat = common.average_of([row.stats.get(one) for one in datasets], request.ci)
            lines += [_line(group, row, stat, name, datasets)] if stat else []
    return lines


def _line(group: Ablation, row: GridRow, stat: Stat, name: str, datasets: Sequence[str]) -> Line:
    """Figures of one data set, or the average over several."""
    is_full, n = group.family.is_full(row.first), common.usual_n(group.rows)
    difference = None if is_full else _difference(group, row, datasets, stat.ci)
    several = [parts_of(row.runs[one][-1]) for one in datasets]  # a data set may lack CuPL sentences
    same = {part: on if all(p[part] == on for p in several) else None for part, on in several[0].items()}
    cells = {part: text(MARKS[on]) for part, on in same.items()}
    cells |= {"accuracy": figure(stat, n), "difference": text("") if is_full else difference_cell(difference, n)}
    tidy = {
        **common.tidy("ablation", row, stat, stat.ci, dataset=name),
        **same,
        "full": is_full,
        "difference": difference and difference.mean,
        "difference_ci95": difference and difference.half,
        "difference_n": difference.n if difference else 0,
    }
    return Line(row.shown, cells, [tidy], common.block_title(name, len(group.datasets)))


def _difference(group: Ablation, row: GridRow, datasets: Sequence[str], ci: str) -> Stat | None:
    """Differences to the full method by draw; None where a data set has no draw that both have."""
    full = {draw: run["accuracy"] for draw, run in group.baseline.items()}
    runs = [{draw_of(r): r["accuracy"] for r in row.runs[name] if draw_of(r) in full} for name in datasets]
    every = {draw: accuracy - full[draw] for of_set in runs for draw, accuracy in of_set.items()}
    return Stat(every, ci) if all(runs) else None


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
        DIFFERENCE + (", over all data sets." if several else ".") if group.baseline else group.why_none,
        *([common.average_caption(len(group.datasets), "data sets")] if several else []),
    ]


def _title(group: Ablation) -> str:
    first = group.family.records[0]
    return f"Ablation of {display_name(first['method'])}, {common.shots_title(first['shots'])}"


ABLATION = Listing(
    groups=_groups,
    lines=_lines,
    columns=lambda group, lines: columns_of({column: HEADERS.get(column, column) for column in lines[0].cells}),
    title=_title,
    setting=lambda group: group.family.records[0],
    unit="accuracy in %",
    caption=_caption,
    marked=True,
    missing="No run of SimNL without one of its parts. Run some first, e.g.\n"
    "  bash scripts/simnl/ablation.sh shapes 16",
)
