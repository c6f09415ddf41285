"""Layout `sensitivity`: accuracy by value of one hyper-parameter at a time (the paper's Table A3)."""

from __future__ import annotations

from collections.abc import Sequence

from simnl.results.published import Figure, published_sensitivity
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.comparison import Comparison
from simnl.results.tables.model import Block, Table, figure
from simnl.results.tables.records import GridRow, by_setting, grid, node_of, options_text
from simnl.runs.names import dataset_name, display_name

PARAMETERS = ("ALPHA", "BETA", "LAM", "TAU")
SEARCH = "SEARCH.ENABLED"


def sensitivity_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting, method, data set and number of shots; one block per hyper-parameter.

    A curve is made of runs whose options differ in that hyper-parameter alone.

    Raises:
        ValueError: no two such runs.
    """
    given = [r for r in records if any(_value(r, node_of(r) + p) is not None for p in PARAMETERS)]
    groups = by_setting(given, also=["method", "dataset", "shots"])
    tables = [table for table in (_sensitivity_table(group, request) for group in groups) if table.blocks]
    if not tables:
        raise ValueError(
            "No runs that differ in one of alpha, beta, lam or tau alone. Run some first, e.g.\n"
            "  bash scripts/benchmark.sh sensitivity --datasets shapes"
        )
    return tables


def _value(record: dict, key: str) -> float | None:
    """A numeric option of a run; None where it was not given."""
    try:
        return float(record.get("options", {})[key])
    except (KeyError, TypeError, ValueError):
        return None


def _sensitivity_table(records: Sequence[dict], request: Request) -> Table:
    first, comparison = records[0], Comparison("sensitivity", records, request)
    blocks, fixed = [], set()
    for parameter in PARAMETERS:
        key, name = node_of(first) + parameter, parameter.lower()
        curves = _grid_over(key, records, request.ci)
        if curves:
            blocks.append(_block(name, curves, _published(comparison, name), comparison))
            fixed |= {f"{name}: {options_text(c.first, [key]) or 'nothing'}" for c in curves}
    where = f"{display_name(first['method'])} on {dataset_name(first['dataset'])}, {common.shots_title(first['shots'])}"
    return Table(
        title=f"Sensitivity of {where} ({common.run_title(first)}): accuracy in %",
        caption=[
            *(common.common_caption(records, comparison.rows, request) if blocks else []),
            f"Set beside the hyper-parameter that varies: {'; '.join(sorted(fixed))}.",
            *comparison.caption("no other option than these parameters and the search is set"),
        ],
        blocks=blocks,
        tidy=comparison.tidy,
    )


def _grid_over(key: str, records: Sequence[dict], ci: str) -> list[GridRow]:
    """One row per setting of the other options, by value of one; not those with a single value of several options."""
    curves = grid(
        [r for r in records if _value(r, key) is not None],
        lambda r: _value(r, key),
        ci,
        lambda r: options_text(r, [key]),
    )
    return [c for c in curves if len(c.stats) > 1 or set(c.first["options"]) == {key}]


def _is_plain(curve: GridRow) -> bool:
    """True for a curve that may stand beside published ones: nothing but hyper-parameters and the search is set."""
    return set(curve.first["options"]) <= {SEARCH, *(node_of(curve.first) + parameter for parameter in PARAMETERS)}


def _published(comparison: Comparison, parameter: str) -> dict[float, Figure]:
    first = comparison.first
    place = (first["method"], parameter, first["backbone"], first["dataset"], first["shots"])
    return published_sensitivity(*place) if comparison.shows_published else {}


def _block(name: str, curves: Sequence[GridRow], published: dict[float, Figure], comparison: Comparison) -> Block:
    """The curves of one hyper-parameter, each with the published one below it."""
    shown: list[dict[float, Figure]] = [published if _is_plain(curve) else {} for curve in curves]
    values = sorted({v for curve in curves for v in curve.stats} | {v for theirs in shown for v in theirs})
    n = common.usual_n(curves)
    comparison.rows += curves
    body = []

    def place(value: float) -> dict[str, object]:
        return {"dataset": comparison.first["dataset"], "parameter": name, "value": value}

    for curve, theirs in zip(curves, shown, strict=True):
        label = display_name(curve.method) if len(curves) == 1 else curve.shown
        cells = [figure(curve.stats.get(value), n) for value in values]
        body += comparison.with_published(curve, label, cells, list(map(theirs.get, values)), values, place)
    return Block([name, *(f"{value:g}" for value in values)], body)
