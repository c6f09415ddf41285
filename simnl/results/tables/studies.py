"""Layouts `sensitivity` (one hyper-parameter at a time, the paper's Table A3) and `noise` (wrong labels)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simnl.results.published import Figure, published_sensitivity, same_weights
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Row, Table, figure, mark_columns, text
from simnl.results.tables.records import GridRow, by_setting, grid, is_clean, options_text, prompts_text
from simnl.runs.names import dataset_name, display_name
from simnl.runs.record import reweighting_off

PARAMETERS = ("ALPHA", "BETA", "LAM", "TAU")
SEARCH = "SEARCH.ENABLED"


def sensitivity_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting, method, data set and number of shots; one block per hyper-parameter.

    A curve is made of runs whose options differ in that hyper-parameter alone.

    Raises:
        ValueError: no two such runs.
    """
    given = [r for r in records if any(_value(r, _key(r, p)) is not None for p in PARAMETERS)]
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


def _key(record: dict, parameter: str) -> str:
    return f"TRAINER.{record['method'].upper()}.{parameter}"


def _sensitivity_table(records: Sequence[dict], request: Request) -> Table:
    first = records[0]
    blocks, rows, tidy, fixed, compared = [], [], [], set(), False
    used: dict[str, set[str]] = {}
    for parameter in PARAMETERS:
        key = _key(first, parameter)
        curves = _grid_over(key, records, request.ci)
        if curves:
            published = _published(records, parameter)
            blocks.append(_curves(parameter.lower(), curves, published))
            plain = list(filter(_is_plain, curves))
            used |= {theirs.source: {first["method"]} for theirs in published.values() if plain}
            compared |= any(value in published for curve in plain for value in curve.stats)
            rows += curves
            fixed |= {f"{parameter.lower()}: {options_text(c.first, [key]) or 'nothing'}" for c in curves}
            tidy += _tidy(parameter.lower(), curves, published, request.ci)
    where = f"{display_name(first['method'])} on {dataset_name(first['dataset'])}, {common.shots_title(first['shots'])}"
    return Table(
        title=f"Sensitivity of {where} ({common.run_title(first)}): accuracy in %",
        caption=[
            *(common.common_caption(records, rows, request) if rows else []),
            f"Set beside the hyper-parameter that varies: {'; '.join(sorted(fixed))}.",
            *common.published_caption(used, compared, "no other option than these parameters and the search is set"),
        ],
        blocks=blocks,
        tidy=tidy,
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
    return set(curve.first["options"]) <= {SEARCH, *(_key(curve.first, parameter) for parameter in PARAMETERS)}


def _published(records: Sequence[dict], parameter: str) -> dict[float, Figure]:
    first = records[0]
    if not same_weights(records) or not is_clean(first):
        return {}
    place = (first["backbone"], first["dataset"], first["shots"])
    return published_sensitivity(first["method"], parameter.lower(), *place)


def _curves(name: str, curves: Sequence[GridRow], published: dict[float, Figure]) -> Block:
    shown: list[dict[float, Figure]] = [published if _is_plain(curve) else {} for curve in curves]
    values = sorted({v for curve in curves for v in curve.stats} | {v for theirs in shown for v in theirs})
    n = common.usual_n(curves)
    rows: list[Row] = []
    for curve, theirs in zip(curves, shown, strict=True):
        label = display_name(curve.method) if len(curves) == 1 else curve.shown
        cells = [figure(curve.stats.get(value), n) for value in values]
        rows += common.triple(label, cells, [theirs.get(value) for value in values])
    return Block([name, *(f"{value:g}" for value in values)], rows)


def _tidy(name: str, curves: Sequence[GridRow], published: dict[float, Figure], ci: str) -> list[dict]:
    rows = []
    for curve in curves:
        of_curve = published if _is_plain(curve) else {}
        for value in sorted(set(curve.stats) | set(of_curve)):
            stat, theirs = curve.stats.get(value), of_curve.get(value)
            place = {"dataset": curve.first["dataset"], "parameter": name, "value": value}
            row = common.tidy("sensitivity", curve, stat, theirs, ci, **place)
            if stat and theirs:
                row["difference"] = stat.mean - theirs.accuracy
            rows.append(row)
    return rows


def noise_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting, data set and number of shots: methods, with and without reweighting, by share of noise.

    Raises:
        ValueError: no run with wrong labels.
    """
    groups = noise_groups(records, ["dataset", "shots"], request.methods)
    return [_noise_table(g, request) for g in groups]


def noise_groups(records: Sequence[dict], also: Sequence[str], methods: Sequence[str] = ()) -> list[list[dict]]:
    """The records of each table: of one setting but for wrong labels.

    Those without wrong labels are there where runs with such labels have the same data set, shots, method, options and
    prompts (others are of another study), or where their method is one of `methods`.

    Raises:
        ValueError: no run with wrong labels.
    """
    noisy = {(r["dataset"], r["shots"]) for r in records if r.get("label_noise")}
    if not noisy:
        raise ValueError(
            "No run with wrong training labels. Run some first, e.g.\n"
            "  bash scripts/benchmark.sh noise --datasets shapes"
        )
    groups = by_setting(records, without=["label_noise"], also=also)
    there = [{_row(r) for r in group if noise_of(r)} for group in groups]
    asked = {_row(r) for r in records if r["method"] in methods and (r["dataset"], r["shots"]) in noisy}
    return [[r for r in g if _row(r) in rows | asked] for g, rows in zip(groups, there, strict=True) if rows]


def _row(record: dict) -> tuple:
    return (record["dataset"], record["shots"], record["method"], options_text(record), prompts_text(record))


def noise_of(record: dict) -> float:
    """The share of wrong training labels."""
    return float(record.get("label_noise", 0))


def _noise_table(records: Sequence[dict], request: Request) -> Table:
    first = records[0]
    shares = sorted(set(map(noise_of, records)))
    rows = grid(records, noise_of, request.ci, _reweighting(records))
    # a row without any figure at wrong labels is of another config
    rows = common.ordered([r for r in rows if any(r.stats) or r.method in request.methods], request)
    n = common.usual_n(rows)
    body = mark_columns([[text(row.shown), *(figure(row.stats.get(s), n) for s in shares)] for row in rows])
    tidy = [
        {**common.tidy("noise", row, row.stats.get(s), None, request.ci, dataset=first["dataset"]), "label_noise": s}
        for row in rows
        for s in shares
        if s in row.stats
    ]
    where = f"{dataset_name(first['dataset'])}, {common.shots_title(first['shots'])}"
    return Table(
        title=f"Wrong training labels on {where} ({common.run_title({**first, 'label_noise': 0})}): accuracy in %",
        caption=[
            "Columns: share of the few-shot training labels that are replaced by another class; the test labels are "
            "clean.",
            *common.common_caption([{**r, "label_noise": 0} for r in records], rows, request),
        ],
        blocks=[Block(["method", *(common.percent(share) for share in shares)], body)],
        tidy=tidy,
        marked=True,
    )


def _reweighting(records: Sequence[dict]) -> Callable[[dict], str]:
    """Names the options of a record; those of reweighting in words, for methods that were run both ways."""
    both = {r["method"] for r in records if reweighting_off(r)}

    def describe(record: dict) -> str:
        if record["method"] not in both:
            return options_text(record)
        off = reweighting_off(record)
        words = f"without {off[0].rsplit('.', 1)[-1]}" if len(off) == 1 else "without reweighting" if off else ""
        return ", ".join(part for part in (words or "with reweighting", options_text(record, off)) if part)

    return describe
