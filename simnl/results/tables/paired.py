"""Paired differences over the same draws: to a method, in the columns of a layout, and between protocols (`audit`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from simnl.numbers import shots_in_words
from simnl.results.stats import CI_METHODS, mean
from simnl.results.tables import common
from simnl.results.tables.beside import Rows
from simnl.results.tables.common import ORACLE, PROTOCOLS, Request
from simnl.results.tables.comparison import Average, Comparison
from simnl.results.tables.grids import BASE2NEW, CROSS_DATA_SETS, DG, FEWSHOT, NOISE, noise_groups
from simnl.results.tables.listing import Line, Listing
from simnl.results.tables.model import Block, Cell, Stat, Table, figure, text
from simnl.results.tables.records import COLUMN, GridRow, by_setting, grid, is_imported, prompts_text, sight_notes
from simnl.runs.names import display_name

ALL = "all draws"
AVERAGED = "Average: of each draw's differences on the targets, of draws that have all of them."
# runs of one setting that agree in these saw the same images and labels
DRAW = ("dataset", "shots", "seed", "split_hash", "label_noise")
# How the runs of a layout are cut where pairs of them are compared; of any other layout as those of `fewshot`.
PLAIN_PAIRS = replace(
    FEWSHOT, title=lambda records: "", groups=lambda records, request: by_setting(records), columns=common.dataset_order
)
PAIRS = {
    "dg": replace(DG, caption=()),
    "cross": replace(CROSS_DATA_SETS, caption=()),
    "base2new": replace(BASE2NEW, caption=("Harmonic mean: of base and new of each draw, then compared.",)),
    "noise": replace(
        NOISE,
        title=lambda records: f"Wrong training labels, {shots_in_words(records[0]['shots'])}",
        groups=lambda records, request: noise_groups(records, replace(request, methods=())),
        caption=("Columns: share of the few-shot training labels that are replaced by another class, in both runs.",),
    ),
}


def baseline_by_draw(records: Sequence[dict], is_baseline: Callable[[dict], bool]) -> dict[tuple, dict]:
    """The runs of the baseline among records of one setting, by draw.

    Raises:
        ValueError: there are runs of more than one config on the same data set, shots and split.
    """
    baseline: dict[tuple, dict] = {}
    configs: dict[tuple, dict] = {}
    for record in filter(is_baseline, records):
        baseline[draw_of(record)] = record
        other = configs.setdefault(draw_of({**record, "seed": ""}), record)
        if (other["config_hash"], prompts_text(other)) != (record["config_hash"], prompts_text(record)):
            raise ValueError(
                f"{record['method']} has runs of two configs on {record['dataset']} with {record['shots']} shots: "
                f"{other.get('path')} and {record.get('path')}. Give the folders of one."
            )
    return baseline


def differences(
    records: Sequence[dict], is_baseline: Callable[[dict], bool], figures: Callable[[dict], dict[Any, float]]
) -> list[dict]:
    """The runs that have a draw in common with the baseline, each once per figure of `figures` that both have.

    The difference is its `accuracy`, the draw its `seed`, and the figure's name its `column`.

    Raises:
        ValueError: runs of the baseline of more than one config on the same data set, shots and split.
    """
    baseline = baseline_by_draw(records, is_baseline)
    return [
        {**record, COLUMN: column, "accuracy": value - theirs[column], "seed": draw_of(record)}
        for record in records
        if draw_of(record) in baseline and not is_baseline(record)
        for theirs in [figures(baseline[draw_of(record)])]
        for column, value in figures(record).items()
        if column in theirs
    ]


def draw_of(record: dict) -> tuple:
    """What tells draws apart."""
    return tuple(record.get(key, "") for key in DRAW)


def _union(stats: Sequence[Stat]) -> Stat:
    """One or more sets of differences as one; each draw counts once."""
    return Stat({draw: value for stat in stats for draw, value in stat.by_seed.items()}, stats[0].ci)


def difference_cell(stat: Stat | None, usual_n: int | None = None) -> Cell:
    """Mean and interval of differences, and their number unless it is the usual one."""
    if stat is None:
        return Cell()
    return Cell(stat.mean, stat.half, signed=True, note="" if stat.n == usual_n else f"(n={stat.n})")


def paired_tables(records: Sequence[dict], against: str, request: Request, layout: str = "") -> list[Table]:
    """One table per setting: mean differences to a method over the draws that both have.

    Args:
        records: those of `dg`, `base2new` and `noise` are compared per target, half of the classes, share of noise.
        against: the method; its runs without options are the baseline.
        request: what was asked for.
        layout: the layout with these columns; one that is not in `PAIRS`: the runs' own test images, by data set.

    Raises:
        ValueError: runs of that method of more than one config on the same data, or no draws in common.
    """
    cut = PAIRS.get(layout, PLAIN_PAIRS)
    records = [record for record in records if not is_imported(record)]  # nothing says that their draws are ours
    made = [_table(group, against, cut, request) for group in cut.some(cut.groups(records, request))]
    if not any(made):
        methods = ", ".join(sorted({r["method"] for r in records}))
        also = ", with figures in the same columns," if layout in PAIRS else ""
        raise ValueError(
            f"Nothing to compare with '{against}': no other run has the same data set, shots, seed, split, weights, "
            f"preset, protocol and noise{also} as a run of it without options. There are runs of {methods}."
        )
    return [table for table in made if table]


def _table(records: list[dict], against: str, cut: Comparison, request: Request) -> Table | None:
    """The differences in the columns of a layout, in its blocks and in one of all blocks; None where there are none."""
    found = differences(records, lambda r: r["method"] == against and not r.get("options"), cut.figures)
    if not found:
        return None
    columns = cut.columns({r[COLUMN] for r in found}, request)
    average = cut.averaged(columns)
    if average:  # one more column: of all draws, or of each draw's mean over the columns that share it
        columns = [*columns, ALL if average.apart else average.name]
    title = f"Differences to {display_name(against)} over the same draws"
    of_layout = cut.title(records)
    title = f"{title}, {of_layout[0].lower()}{of_layout[1:]}" if of_layout else title
    table = Table(replace(cut, title=lambda records: title, unit="points").titled(records))
    for key, rows in _blocks(cut, found, average, request).items():
        every = "All shots" if cut.block == "shots" else "All data sets"
        body = [[text(row.shown), *(difference_cell(row.stats.get(name)) for name in columns)] for row in rows]
        heading = every if key == ALL else common.block_title(key)
        table.blocks.append(Block(["method", *cut.headers(columns)], body, heading))
        for row, name in ((row, name) for row in rows for name in columns if name in row.stats):
            by_shots = {"dataset": name, "shots": "all" if key == ALL else key}
            place = by_shots if cut.block == "shots" else {"dataset": key, "part": name}
            of_row = common.place_in_csv("paired", row, against=against, **place)
            table.tidy.append(of_row | common.figure_in_csv("difference", row.stats[name]))
    table.caption = [
        common.setting_text(cut.setting(records)),
        *common.fewer_images(records),
        *sight_notes(found),
        f"Mean of a method's accuracy minus that of {display_name(against)} over the n draws (data set, shots, seed, "
        f"split) that both have; ±: half width of its 95 % interval ({CI_METHODS[request.ci]}); none for one draw.",
        *cut.caption,
        *([AVERAGED] if average and not average.apart else []),
        f"Prompts: {common.by_value(records, prompts_text)}.",
    ]
    return table


def _blocks(cut: Comparison, found: Sequence[dict], average: Average | None, request: Request) -> Rows:
    """Rows by block, with the average; those of all blocks last, where there are several."""
    blocks = cut.grids(found, request)
    for rows in blocks.values():
        if average and not average.apart:
            common.add_average(rows, average.name, average.over, request.ci)
        elif average:
            for row in rows:
                row.stats[ALL] = _union(list(row.stats.values()))
    if len(blocks) > 1:
        alike: dict[str, list[GridRow]] = {}
        for row in (row for rows in blocks.values() for row in rows):
            alike.setdefault(row.label, []).append(row)
        blocks[ALL] = [_merged(rows) for rows in alike.values()]
    return {key: common.ordered(rows, request) for key, rows in blocks.items()}


def _merged(rows: Sequence[GridRow]) -> GridRow:
    """Rows as one, with the draws of all."""
    columns = dict.fromkeys(column for row in rows for column in row.stats)
    return replace(rows[0], stats={c: _union([row.stats[c] for row in rows if c in row.stats]) for c in columns})


# ---------------------------------------------------------------------- layout `audit`

HONEST = ("fewshot-val", "held-shot", "no-val", "full-val")  # the first that was run is compared with the oracle
OPTIMISM = "optimism"


def _optimism(stats: dict[str, Stat]) -> Stat | None:
    """The accuracy under the oracle minus that under the first honest protocol, in points, by seed."""
    best, fair = stats.get(ORACLE), next((stats[name] for name in HONEST if name in stats), None)
    return best.minus(fair) if best and fair else None


def _protocols(records: Sequence[dict]) -> list[str]:
    """The protocols of some runs in their order, and the optimism."""
    there = {record["protocol"] for record in records}
    return [*(name for name in PROTOCOLS if name in there), OPTIMISM]


def _with_oracle(records: Sequence[dict], request: Request) -> list[list[dict]]:
    """The runs of each setting, data set and number of shots in which those of the oracle have others beside them."""
    groups = by_setting(records, without=("protocol",), also=("dataset", "shots"))
    return [group for group in groups if ORACLE in _protocols(group) and len(_protocols(group)) > 2]


def _optimism_lines(records: Sequence[dict], request: Request) -> list[Line]:
    """One line per method, and below them the mean over the methods that have every column, of two or more."""
    rows, columns = common.ordered(grid(records, lambda r: r["protocol"], request.ci), request), _protocols(records)
    usual, lines = common.usual_n(rows), []
    for row in rows:
        worth = _optimism(row.stats)
        cells = {name: figure(row.stats.get(name), usual) for name in columns}
        cells[OPTIMISM] = difference_cell(worth, worth.n if worth else None)
        row.stats |= {OPTIMISM: worth} if worth else {}
        lines.append(Line(row.shown, cells, [_optimism_tidy(row, name) for name in columns if name in row.stats]))
    whole = [row for row in rows if all(name in row.stats for name in columns)]
    if len(whole) > 1:
        means = {name: Cell(mean([row.stats[name].mean for row in whole]), signed=name == OPTIMISM) for name in columns}
        lines.append(Line(f"mean of {len(whole)} methods", means, []))
    return lines


def _optimism_tidy(row: GridRow, name: str) -> dict[str, object]:
    """A figure for csv."""
    place = common.place_in_csv("audit", row, dataset=row.first["dataset"])
    del place["protocol"]
    return place | {"protocol": name} | common.figure_in_csv("accuracy", row.stats[name])


def _all_protocols(records: Sequence[dict]) -> dict:
    return {**records[0], "protocol": "all protocols"}


def _optimism_caption(records: Sequence[dict], lines: Sequence[Line], request: Request) -> list[str]:
    honest = next(name for name in HONEST if name in _protocols(records))
    return [
        *common.runs_caption(_all_protocols(records), records),
        "Every column is of the same draws and features. Only the images differ on which the epoch and the "
        "hyper-parameters are chosen.",
        f"Optimism: accuracy under {ORACLE} minus accuracy under {honest} over the same draws, in points; ±: "
        f"half width of its 95 % interval ({CI_METHODS[request.ci]}). It is no property of a method alone: it "
        "grows with the number of settings tried and with the noise of the honest choice.",
        f"Prompts: {common.by_value(records, prompts_text)}.",
    ]


OPTIMISMS = Listing(
    groups=_with_oracle,
    lines=_optimism_lines,
    title=lambda records: f"What choosing on the test images is worth: {common.place_text(records[0])}",
    setting=_all_protocols,
    caption=_optimism_caption,
    missing=f"Nothing to compare: the table needs runs under {ORACLE} and under another protocol, on the same data set "
    "and shots. python tools/audit.py shapes 16 carries them out.",
)
