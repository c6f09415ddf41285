"""The layouts of methods by columns: `fewshot`, `noise`, `sensitivity`, and how runs are paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from simnl.results.published import AVERAGE, PAPER_A1, published_sensitivity
from simnl.results.tables import common
from simnl.results.tables.beside import Rows
from simnl.results.tables.common import ELEVEN, Request
from simnl.results.tables.comparison import Average, Comparison
from simnl.results.tables.records import by_setting, grid, node_of, options_text, prompts_text
from simnl.results.tables.transfer import BASE2NEW, CROSS_DATA_SETS, DG, accuracies
from simnl.runs.names import dataset_name, display_name
from simnl.runs.record import reweighting_off

PARAMETERS = ("ALPHA", "BETA", "LAM", "TAU")
SEARCH = "SEARCH.ENABLED"


def _by_data_sets(records: Sequence[dict], request: Request) -> list[list[dict]]:
    """Records by setting; data sets beside the eleven are apart, unless data sets were asked for by name."""
    if request.datasets:
        return by_setting(records)
    parts = [[r for r in records if (r["dataset"] in ELEVEN) is eleven] for eleven in (True, False)]
    return [members for part in parts for members in by_setting(part)]


FEWSHOT = Comparison(
    name="fewshot",
    title=lambda records: "Few-shot classification",
    groups=_by_data_sets,
    figures=lambda record: {record["dataset"]: record["accuracy"]},
    columns=common.dataset_order,
    headers=lambda columns: [f"Avg. ({len(columns) - 1})" if c == AVERAGE else dataset_name(c) for c in columns],
    # the data sets asked for; else the eleven where records are of any of these; else those with records
    expected=lambda there, request: set(request.datasets) or (set(ELEVEN) if there & set(ELEVEN) else there),
    average=lambda columns: Average(AVERAGE, columns, "data sets"),
    task="few-shot",
    shows_unable=False,
    published=accuracies,
    paper=lambda columns: PAPER_A1 if set(columns) & set(ELEVEN) else "",
    whole=ELEVEN,
)


def _noise_groups(records: Sequence[dict], request: Request, also: Sequence[str] = ()) -> list[list[dict]]:
    """Records by setting but for wrong labels, by number of shots and by `also`.

    Those without wrong labels are there where runs with such labels have the same data set, shots, method, options and
    prompts (others are of another study), or where their method was asked for.
    """
    noisy = {(r["dataset"], r["shots"]) for r in records if r.get("label_noise")}
    groups = by_setting(records, without=["label_noise"], also=[*also, "shots"])
    there = [{_variant(r) for r in group if r.get("label_noise")} for group in groups]
    asked = {_variant(r) for r in records if r["method"] in request.methods and (r["dataset"], r["shots"]) in noisy}
    return [[r for r in g if _variant(r) in rows | asked] for g, rows in zip(groups, there, strict=True) if rows]


def _variant(record: dict) -> tuple:
    return (record["dataset"], record["shots"], record["method"], options_text(record), prompts_text(record))


def _noise_of(record: dict) -> float:
    return float(record.get("label_noise", 0))


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


NOISE = Comparison(
    name="noise",
    title=lambda records: f"Wrong training labels on {common.place_text(records[0])}",
    groups=lambda records, request: _noise_groups(records, request, also=["dataset"]),
    figures=lambda record: {_noise_of(record): record["accuracy"]},
    columns=lambda there, request: sorted(there),
    headers=lambda columns: [common.percent(share) for share in columns],
    block="dataset",
    rows=lambda records, request: {
        "": [
            row
            for row in grid(records, _noise_of, request.ci, _reweighting(records))
            if any(row.stats) or row.method in request.methods  # one without figures at wrong labels: another config
        ]
    },
    caption=(
        "Columns: share of the few-shot training labels that are replaced by another class; the test labels are clean.",
    ),
    place=lambda first, block, column: {"dataset": block, "label_noise": column},
    missing="No run with wrong training labels. Run some first, e.g.\n"
    "  bash scripts/benchmark.sh noise --datasets shapes",
    setting=lambda records: {**records[0], "label_noise": 0.0},
)


def _value(record: dict, parameter: str) -> float | None:
    """A hyper-parameter that a run was given as a number; None where it was not."""
    try:
        return float(record.get("options", {})[node_of(record) + parameter])
    except (KeyError, TypeError, ValueError):
        return None


def _curves(records: Sequence[dict], request: Request) -> Rows:
    """The rows of each hyper-parameter, one per setting of the other options, with a column per value.

    Rows of several options with a single value are left out.
    """
    curves = {}
    for name in PARAMETERS:
        key, given = node_of(records[0]) + name, [r for r in records if _value(r, name) is not None]
        rows = grid(given, partial(_value, parameter=name), request.ci, partial(options_text, ignore=[key]))
        curves[name.lower()] = [row for row in rows if len(row.stats) > 1 or set(row.first["options"]) == {key}]
    return {name: rows for name, rows in curves.items() if rows}


def _beside(curves: Rows) -> list[str]:
    fixed = {
        f"{name}: {options_text(row.first, [node_of(row.first) + name.upper()]) or 'nothing'}"
        for name, rows in curves.items()
        for row in rows
    }
    return [f"Set beside the hyper-parameter that varies: {'; '.join(sorted(fixed))}."]


SENSITIVITY = Comparison(  # the paper's Table A3
    name="sensitivity",
    title=lambda records: f"Sensitivity of {display_name(records[0]['method'])} on {common.place_text(records[0])}",
    groups=lambda records, request: by_setting(
        [r for r in records if any(_value(r, parameter) is not None for parameter in PARAMETERS)],
        also=["method", "dataset", "shots"],
    ),
    figures=lambda record: {},
    columns=lambda there, request: [],
    headers=lambda values: [f"{value:g}" for value in values],
    block="parameter",
    rows=_curves,
    heading=lambda name, others: ("", name),
    label=lambda row, rows: display_name(row.method) if len(rows) == 1 else row.shown,
    remarks=_beside,
    place=lambda first, name, value: {"dataset": first["dataset"], "parameter": name, "value": value},
    published=lambda r, name, sources: published_sensitivity(
        r["method"], name, r["backbone"], r["dataset"], r["shots"]
    ),
    compared=(
        lambda record: set(record["options"]) <= {SEARCH, *(node_of(record) + parameter for parameter in PARAMETERS)},
        "no other option than these parameters and the search is set",
    ),
    marked=False,
    missing="No runs that differ in one of alpha, beta, lam or tau alone. Run some first, e.g.\n"
    "  bash scripts/benchmark.sh sensitivity --datasets shapes",
)

# How the runs of a layout are cut where pairs of them are compared; of any other layout as those of `fewshot`.
PLAIN_PAIRS = replace(FEWSHOT, title=lambda records: "", groups=lambda records, request: by_setting(records))
PAIRS = {
    "dg": replace(DG, caption=()),
    "cross": replace(CROSS_DATA_SETS, caption=()),
    "base2new": replace(BASE2NEW, caption=("Harmonic mean: of base and new of each draw, then compared.",)),
    "noise": replace(
        NOISE,
        title=lambda records: f"Wrong training labels, {common.shots_title(records[0]['shots'])}",
        groups=lambda records, request: _noise_groups(records, replace(request, methods=())),
        caption=("Columns: share of the few-shot training labels that are replaced by another class, in both runs.",),
    ),
}
