"""Layout `fewshot`: methods by data sets, one block per number of shots (the paper's Table A1)."""

from __future__ import annotations

from collections.abc import Sequence

from simnl.results.published import AVERAGE, PAPER_A1
from simnl.results.tables import common
from simnl.results.tables.common import ELEVEN, Request
from simnl.results.tables.compare import Comparison
from simnl.results.tables.model import Block, Table
from simnl.results.tables.records import by_setting, grid
from simnl.runs.names import dataset_name

TASK = "few-shot"


def fewshot_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting (backbone, weights, preset, protocol, kind of split, classes, noise).

    Data sets beside the eleven have a table of their own, unless data sets were asked for by name.
    """
    if request.datasets:
        return [_table(members, request) for members in by_setting(records)]
    parts = [[r for r in records if (r["dataset"] in ELEVEN) is eleven] for eleven in (True, False)]
    return [_table(members, request) for part in parts for members in by_setting(part)]


def columns_of(records: Sequence[dict], request: Request) -> list[str]:
    """The data sets asked for; else the eleven where records are of any of these; else those with records."""
    there = {record["dataset"] for record in records}
    if request.datasets:
        return list(request.datasets)
    return list(ELEVEN) if there & set(ELEVEN) else common.dataset_order(there, request)


def _table(records: Sequence[dict], request: Request) -> Table:
    columns = columns_of(records, request)
    comparison = Comparison("fewshot", TASK, records, request)
    shots = sorted({record["shots"] for record in records})
    blocks = [_block([r for r in records if r["shots"] == k], k, columns, comparison) for k in shots]
    average = len(columns) > 1
    return Table(
        title=f"Few-shot classification ({common.run_title(records[0])}): accuracy in %",
        caption=[
            *common.common_caption(records, comparison.rows, request),
            *([common.average_caption(len(columns), "data sets")] if average else []),
            *comparison.caption(),
        ],
        blocks=blocks,
        tidy=comparison.tidy,
        marked=True,
    )


def _block(records: Sequence[dict], shots: int, columns: Sequence[str], comparison: Comparison) -> Block:
    request = comparison.request
    names = [*columns, AVERAGE] if len(columns) > 1 else list(columns)
    rows = grid(records, lambda r: r["dataset"], request.ci)
    for row in rows:
        average = common.average_of([row.stats.get(name) for name in columns], request.ci)
        if average:
            row.stats[AVERAGE] = average
    # an average over other data sets than the eleven has no published counterpart
    comparable = [name for name in names if name != AVERAGE or set(columns) == set(ELEVEN)]
    comparison.rows += rows
    body = comparison.block(rows, names, comparable, shots, PAPER_A1 if set(columns) & set(ELEVEN) else "")
    headers = ["method", *(f"Avg. ({len(columns)})" if n == AVERAGE else dataset_name(n) for n in names)]
    return Block(headers, body, common.shots_title(shots))
