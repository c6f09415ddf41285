"""The layouts of methods by columns: tested on the data of training and on other data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from simnl.fewshot.capabilities import CROSS, NEW_CLASSES, is_on_new_classes
from simnl.numbers import shots_in_words
from simnl.results import published
from simnl.results.published import ARROW, AVERAGE, PAPER_A1, PAPER_A2, Figure, harmonic
from simnl.results.tables import common
from simnl.results.tables.beside import Rows
from simnl.results.tables.common import ELEVEN, SHIFTED, Request
from simnl.results.tables.comparison import Average, Comparison
from simnl.results.tables.records import by_setting, grid, is_standard, node_of, options_text, prompts_text
from simnl.runs.names import dataset_name, display_name
from simnl.runs.record import reweighting_off

PARAMETERS = ("ALPHA", "BETA", "LAM", "TAU")
SEARCH = "SEARCH.ENABLED"
HARMONIC = "harmonic mean"
PARTS = ("base", NEW_CLASSES, HARMONIC)


def _accuracies(place: dict, block: Any, sources: Sequence[str]) -> dict[Any, Figure]:
    """Published accuracies of a run's method, backbone and shots, by data set."""
    return published.published_accuracy(place["method"], place["backbone"], place["shots"], sources)


def _headers(columns: Sequence[str]) -> list[str]:
    names = [column.partition(ARROW)[2].removeprefix(CROSS) for column in columns]
    alike = Counter(name.partition("@")[0] for name in names)
    titles = {"": f"{dataset_name(columns[0])} (source)", AVERAGE: f"Average ({len(columns) - 2} targets)"}
    plain = {name: name.partition("@")[0] if alike[name.partition("@")[0]] == 1 else name for name in names}
    return [titles.get(name) or dataset_name(plain[name]) for name in names]


def _onto(kind: Callable[[str], bool], order: Sequence[str], **declared: Any) -> Comparison:
    """A layout of the source and its targets of a kind, in an order, one table per source."""

    def groups(records: Sequence[dict], request: Request) -> list[list[dict]]:
        """Records by setting and source, at numbers of shots at which a run has such targets."""
        kept = []
        for group in by_setting(records, also=["dataset"]):
            shots = {r["shots"] for r in group if any(map(kind, r.get("targets", {})))}
            # runs of the same source without targets are missing figures, not missing methods
            kept += [[r for r in group if r["shots"] in shots]] if shots else []
        return kept

    def figures(record: dict) -> dict[str, float]:
        """The accuracy on the source, and on each target under `source -> target`."""
        source, targets = record["dataset"], record.get("targets", {})
        return {source: record["accuracy"]} | {f"{source}{ARROW}{t}": a for t, a in targets.items() if kind(t)}

    def columns(there: set[str], request: Request) -> list[str]:
        targets = {column.split(ARROW)[1]: column for column in there if ARROW in column}
        return [*(c for c in there if ARROW not in c), *(targets[name] for name in common.in_order(targets, order))]

    def average(columns: Sequence[str]) -> Average:
        return Average(f"{columns[0]}{ARROW}{AVERAGE}", columns[1:], "targets, without the source,", apart=False)

    return Comparison(groups=groups, figures=figures, columns=columns, headers=_headers, average=average, **declared)


DG = _onto(
    lambda target: not is_on_new_classes(target),
    SHIFTED,
    name="dg",
    title=lambda records: f"Domain generalisation from {dataset_name(records[0]['dataset'])}",
    caption=("Trained and selected on the source alone; nothing is selected on a target.",),
    task="dg",
    published=_accuracies,
    paper=lambda columns: PAPER_A2,
    whole=SHIFTED,
    missing="No run was tested on a shifted data set. Run one first, e.g.\n  bash scripts/simnl/dg.sh shapes 16",
)

CROSS_DATA_SETS = _onto(
    lambda target: target.startswith(CROSS),
    [f"{CROSS}{name}" for name in ELEVEN],
    name="cross",
    title=lambda records: f"Cross-data-set transfer from {dataset_name(records[0]['dataset'])}",
    caption=(
        "Trained and selected on the source alone; tested on the classes of each target, which are new to what was "
        "learned, with the target's own prompts where a method takes fixed ones.",
    ),
    task="cross",
    missing="No run was tested on a data set of other classes. Run one first, e.g.\n"
    "  bash scripts/cross.sh CoOp shapes 16 --targets FOLDER",
)


def _base_and_new(record: dict) -> dict[str, float]:
    return {"base": record["accuracy"], NEW_CLASSES: record["targets"][NEW_CLASSES]}


def _base_new_rows(records: Sequence[dict], request: Request) -> Rows:
    """Rows of each data set; where there are several, those of their average, whose harmonic mean is of averages."""
    parts = [{**r, "part": part, "accuracy": a} for r in records for part, a in _base_and_new(r).items()]
    rows = grid(parts, lambda r: (r["dataset"], r["part"]), request.ci)
    blocks = common.over_data_sets(rows, common.dataset_order({r["dataset"] for r in records}, request), request.ci)
    for of_block in blocks.values():
        common.add_average(of_block, HARMONIC, PARTS[:2], request.ci, harmonic)
    return blocks


def _base2new_published(place: dict, block: Any, sources: Sequence[str]) -> dict[Any, Figure]:
    found = published.published_base2new(place["method"], place["backbone"], place["shots"], block, sources)
    return {HARMONIC if part == published.HARMONIC else part: theirs for part, theirs in found.items()}


BASE2NEW = Comparison(
    name="base2new",
    title=lambda records: f"Base to new classes, {shots_in_words(records[0]['shots'])}",
    groups=lambda records, request: by_setting(
        [r for r in records if r.get("subsample_classes") == "base" and NEW_CLASSES in r.get("targets", {})],
        also=["shots"],
    ),
    figures=lambda record: {**_base_and_new(record), HARMONIC: harmonic([*_base_and_new(record).values()])},
    columns=lambda there, request: [part for part in PARTS if part in there],
    block="dataset",
    rows=_base_new_rows,
    caption=(
        "Trained on the first half of the classes, tested on that half (base) and on the other (new), each among "
        "the classes of its half; harmonic mean of the two, of each seed.",
    ),
    place=lambda first, block, column: {"dataset": block, "part": column},
    task="base2new",
    published=_base2new_published,
    classes="base",
    compared=(lambda record: is_standard(record, "base"), "our run has no options"),
    whole=ELEVEN,
    missing="No run was trained on the base classes and tested on the new ones. Run some first, e.g.\n"
    "  bash scripts/benchmark.sh base2new --datasets shapes",
)


def _by_data_sets(records: Sequence[dict], request: Request) -> list[list[dict]]:
    """Records by setting; data sets beside the eleven are apart, unless data sets were asked for by name."""
    if request.datasets:
        return by_setting(records)
    eleven, others = ([r for r in records if (r["dataset"] in ELEVEN) is whether] for whether in (True, False))
    return by_setting(eleven) + by_setting(others)


def _data_sets(there: set[str], request: Request) -> list[str]:
    """The data sets asked for; else the eleven where records are of any of these; else those with records."""
    return common.dataset_order(request.datasets or (ELEVEN if there & set(ELEVEN) else there), request)


FEWSHOT = Comparison(
    name="fewshot",
    title=lambda records: "Few-shot classification",
    groups=_by_data_sets,
    figures=lambda record: {record["dataset"]: record["accuracy"]},
    columns=_data_sets,
    headers=lambda columns: [f"Avg. ({len(columns) - 1})" if c == AVERAGE else dataset_name(c) for c in columns],
    average=lambda columns: Average(AVERAGE, columns, "data sets"),
    task="few-shot",
    shows_unable=False,
    published=_accuracies,
    paper=lambda columns: PAPER_A1 if set(columns) & set(ELEVEN) else "",
    whole=ELEVEN,
)


def noise_groups(records: Sequence[dict], request: Request, also: Sequence[str] = ()) -> list[list[dict]]:
    """Records by setting but for wrong labels, by number of shots and by `also`.

    Those without wrong labels are there where runs with such labels have the same data set, shots, method, options and
    prompts (others are of another study), or where their method was asked for.
    """

    def variant(record: dict) -> tuple:
        return (record["dataset"], record["shots"], record["method"], options_text(record), prompts_text(record))

    noisy = {(r["dataset"], r["shots"]) for r in records if r.get("label_noise")}
    asked = {variant(r) for r in records if r["method"] in request.methods and (r["dataset"], r["shots"]) in noisy}
    groups = []
    for group in by_setting(records, without=["label_noise"], also=[*also, "shots"]):
        there = {variant(r) for r in group if r.get("label_noise")}
        groups += [[r for r in group if variant(r) in there | asked]] if there else []
    return groups


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
    groups=lambda records, request: noise_groups(records, request, also=["dataset"]),
    figures=lambda record: {float(record.get("label_noise", 0)): record["accuracy"]},
    columns=lambda there, request: sorted(there),
    headers=lambda columns: [common.percent(share) for share in columns],
    block="dataset",
    rows=lambda records, request: {
        "": [
            row
            for row in grid(records, lambda r: float(r.get("label_noise", 0)), request.ci, _reweighting(records))
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


def given_value(record: dict, parameter: str) -> float | None:
    """A hyper-parameter that a run was given as a number; None where it was not."""
    try:
        return float(record["options"][node_of(record) + parameter])
    except (KeyError, TypeError, ValueError):
        return None


def _curves(records: Sequence[dict], request: Request) -> Rows:
    """The rows of each hyper-parameter, one per setting of the other options, with a column per value.

    Rows of several options with a single value are left out.
    """
    curves: Rows = {}
    for name in PARAMETERS:
        key, given = node_of(records[0]) + name, [r for r in records if given_value(r, name) is not None]
        rows = grid(given, partial(given_value, parameter=name), request.ci, partial(options_text, ignore=[key]))
        kept = [row for row in rows if len(row.stats) > 1 or set(row.first["options"]) == {key}]
        if len(kept) == 1:
            kept = [replace(kept[0], shown=display_name(kept[0].method))]
        curves |= {name.lower(): kept} if kept else {}
    return curves


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
        [r for r in records if any(given_value(r, parameter) is not None for parameter in PARAMETERS)],
        also=["method", "dataset", "shots"],
    ),
    figures=lambda record: {},
    columns=lambda there, request: [],
    headers=lambda values: [f"{value:g}" for value in values],
    block="parameter",
    rows=_curves,
    heading=lambda name, others: ("", name),
    remarks=_beside,
    place=lambda first, name, value: {"dataset": first["dataset"], "parameter": name, "value": value},
    published=lambda r, name, sources: published.published_sensitivity(
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
