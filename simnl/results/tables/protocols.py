"""Layout `audit`: the same methods and draws under each protocol, and what choosing on the test images is worth."""

from __future__ import annotations

from collections.abc import Sequence

from simnl.results.stats import CI_METHODS, mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Cell, Row, Stat, Table, figure, text
from simnl.results.tables.paired import difference_cell
from simnl.results.tables.records import SETTING, GridRow, by_setting, grid, prompts_text
from simnl.results.tables.sight import footnotes
from simnl.runs.names import dataset_name

ORACLE = "oracle-test"
# From the fewest labels seen in the choice to the most. The first of `HONEST` that was run is compared with the oracle.
PROTOCOLS = ("no-val", "held-shot", "fewshot-val", "full-val", ORACLE)
HONEST = ("fewshot-val", "held-shot", "no-val", "full-val")
OPTIMISM = "optimism"


def optimism_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """A table per setting, data set and number of shots in which runs of the oracle have others beside them.

    Raises:
        ValueError: there is no such setting.
    """
    groups = by_setting(records, without=("protocol",), also=("dataset", "shots"))
    tables = [table for group in groups for table in _tables(group, request)]
    if not tables:
        raise ValueError(
            f"Nothing to compare: the table needs runs under {ORACLE} and under another protocol, on the same data set "
            "and shots. python tools/audit.py shapes 16 carries them out."
        )
    return tables


def optimism(row: GridRow) -> tuple[str, Stat] | None:
    """The honest protocol of a row, and by seed the accuracy under the oracle minus that under it, in points."""
    honest = next((name for name in HONEST if name in row.stats), None)
    if honest is None or ORACLE not in row.stats:
        return None
    best, fair = row.stats[ORACLE], row.stats[honest]
    common_seeds = sorted(best.by_seed.keys() & fair.by_seed.keys())
    if not common_seeds or best.split != fair.split:
        return None
    return honest, Stat({seed: best.by_seed[seed] - fair.by_seed[seed] for seed in common_seeds}, best.ci)


def _tables(records: Sequence[dict], request: Request) -> list[Table]:
    there = {record["protocol"] for record in records}
    columns = [name for name in PROTOCOLS if name in there]
    if ORACLE not in columns or len(columns) < 2:
        return []
    rows = common.ordered(grid(records, lambda r: r["protocol"], request.ci), request)
    honest = next(name for name in HONEST if name in columns)
    first, usual = records[0], common.usual_n(rows)
    lines = [[text(row.shown), *(figure(row.stats.get(c), usual) for c in columns), _difference(row)] for row in rows]
    place = f"{dataset_name(first['dataset'])}, {common.shots_title(first['shots'])}"
    about = {**first, "protocol": "all protocols"}
    return [
        Table(
            title=f"What choosing on the test images is worth: {place} ({common.run_title(about)})",
            caption=[
                common.setting_text(about),
                *common.fewer_images(records),
                *footnotes(records),
                "Every column is of the same draws and features. Only the images differ on which the epoch and the "
                "hyper-parameters are chosen.",
                f"Optimism: accuracy under {ORACLE} minus accuracy under {honest} over the same draws, in points; ±: "
                f"half width of its 95 % interval ({CI_METHODS[request.ci]}). It is no property of a method alone: it "
                "grows with the number of settings tried and with the noise of the honest choice.",
                f"Prompts: {common.by_value(records, prompts_text)}.",
            ],
            blocks=[Block(["method", *columns, OPTIMISM], [*lines, *_mean_row(rows, columns)])],
            tidy=[_tidy(row, name, request.ci) for row in rows for name in (*columns, OPTIMISM) if _stat(row, name)],
        )
    ]


def _difference(row: GridRow) -> Cell:
    found = optimism(row)
    return difference_cell(found[1], found[1].n) if found else Cell()


def _mean_row(rows: Sequence[GridRow], columns: Sequence[str]) -> list[Row]:
    """The mean over the methods that have every column; nothing for fewer than two methods."""
    whole = [row for row in rows if all(name in row.stats for name in columns) and optimism(row)]
    if len(whole) < 2:
        return []
    worth = [found[1].mean for row in whole if (found := optimism(row))]
    means = [Cell(mean([row.stats[name].mean for row in whole])) for name in columns]
    return [[text(f"mean of {len(whole)} methods"), *means, Cell(mean(worth), signed=True)]]


def _stat(row: GridRow, name: str) -> Stat | None:
    found = optimism(row)
    return (found[1] if found else None) if name == OPTIMISM else row.stats.get(name)


def _tidy(row: GridRow, name: str, ci: str) -> dict[str, object]:
    """A figure for csv."""
    stat = _stat(row, name)
    return {
        "layout": "audit",
        "method": row.method,
        "row": row.label,
        "dataset": row.first["dataset"],
        "shots": row.first["shots"],
        **{key: row.first.get(key, "") for key in SETTING if key != "protocol"},
        "protocol": name,
        "accuracy": stat.mean if stat else "",
        "ci95": stat.half if stat else "",
        "interval": ci,
        "n": stat.n if stat else 0,
    }
