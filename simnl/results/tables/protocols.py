"""Layout `audit`: the same methods and draws under each protocol, and what choosing on the test images is worth."""

from __future__ import annotations

from collections.abc import Sequence

from simnl.results.stats import CI_METHODS, mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Line, Listing, columns_of
from simnl.results.tables.model import Cell, Stat, figure
from simnl.results.tables.paired import difference_cell
from simnl.results.tables.records import GridRow, by_setting, grid, prompts_text

ORACLE = "oracle-test"
# From the fewest labels seen in the choice to the most. The first of `HONEST` that was run is compared with the oracle.
PROTOCOLS = ("no-val", "held-shot", "fewshot-val", "full-val", ORACLE)
HONEST = ("fewshot-val", "held-shot", "no-val", "full-val")
OPTIMISM = "optimism"


def _optimism(stats: dict[str, Stat]) -> Stat | None:
    """The accuracy under the oracle minus that under the first honest protocol, in points, by seed."""
    best, fair = stats.get(ORACLE), next((stats[name] for name in HONEST if name in stats), None)
    if best is None or fair is None or best.split != fair.split:
        return None
    seeds = sorted(best.by_seed.keys() & fair.by_seed.keys())
    return Stat({seed: best.by_seed[seed] - fair.by_seed[seed] for seed in seeds}, best.ci) if seeds else None


def _columns(records: Sequence[dict]) -> list[str]:
    """The protocols of some runs in their order, and the optimism."""
    there = {record["protocol"] for record in records}
    return [*(name for name in PROTOCOLS if name in there), OPTIMISM]


def _groups(records: Sequence[dict], request: Request) -> list[list[dict]]:
    """The runs of each setting, data set and number of shots in which those of the oracle have others beside them."""
    groups = by_setting(records, without=("protocol",), also=("dataset", "shots"))
    return [group for group in groups if ORACLE in _columns(group) and len(_columns(group)) > 2]


def _lines(records: Sequence[dict], request: Request) -> list[Line]:
    """One line per method, and below them the mean over the methods that have every column, of two or more."""
    rows, columns = common.ordered(grid(records, lambda r: r["protocol"], request.ci), request), _columns(records)
    usual, lines = common.usual_n(rows), []
    for row in rows:
        worth = _optimism(row.stats)
        cells = {name: figure(row.stats.get(name), usual) for name in columns}
        cells[OPTIMISM] = difference_cell(worth, worth.n if worth else None)
        row.stats |= {OPTIMISM: worth} if worth else {}
        lines.append(Line(row.shown, cells, [_tidy(row, name) for name in columns if name in row.stats]))
    whole = [row for row in rows if all(name in row.stats for name in columns)]
    if len(whole) > 1:
        means = {name: Cell(mean([row.stats[name].mean for row in whole]), signed=name == OPTIMISM) for name in columns}
        lines.append(Line(f"mean of {len(whole)} methods", means, []))
    return lines


def _tidy(row: GridRow, name: str) -> dict[str, object]:
    """A figure for csv."""
    place = common.place_in_csv("audit", row, dataset=row.first["dataset"])
    del place["protocol"]
    return place | {"protocol": name} | common.figure_in_csv("accuracy", row.stats[name])


def _setting(records: Sequence[dict]) -> dict:
    return {**records[0], "protocol": "all protocols"}


def _caption(records: Sequence[dict], lines: Sequence[Line], request: Request) -> list[str]:
    honest = next(name for name in HONEST if name in _columns(records))
    return [
        *common.runs_caption(_setting(records), records),
        "Every column is of the same draws and features. Only the images differ on which the epoch and the "
        "hyper-parameters are chosen.",
        f"Optimism: accuracy under {ORACLE} minus accuracy under {honest} over the same draws, in points; ±: "
        f"half width of its 95 % interval ({CI_METHODS[request.ci]}). It is no property of a method alone: it "
        "grows with the number of settings tried and with the noise of the honest choice.",
        f"Prompts: {common.by_value(records, prompts_text)}.",
    ]


OPTIMISMS = Listing(
    groups=_groups,
    lines=_lines,
    columns=lambda records, lines: columns_of({name: name for name in _columns(records)}),
    title=lambda records: f"What choosing on the test images is worth: {common.place_text(records[0])}",
    setting=_setting,
    caption=_caption,
    missing=f"Nothing to compare: the table needs runs under {ORACLE} and under another protocol, on the same data set "
    "and shots. python tools/audit.py shapes 16 carries them out.",
)
