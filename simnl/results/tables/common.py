"""What several layouts share: what was asked for, the order of names, captions, lines of csv, averages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from simnl.numbers import shots_in_words
from simnl.results.published import AVERAGE, ORDER, ZEROSHOT, sources_of
from simnl.results.published.audit import ordered as marks_in_order
from simnl.results.stats import CI_METHODS, mean
from simnl.results.tables.model import Stat
from simnl.results.tables.records import (
    SETTING,
    GridRow,
    images_text,
    options_text,
    own_setting,
    prompts_text,
    sight_notes,
)
from simnl.runs.names import dataset_name, display_name

# The eleven data sets of the few-shot benchmark, in the order of the paper's Table A1, and the shifted ones of A2.
ELEVEN = (
    "caltech101", "dtd", "eurosat", "fgvc_aircraft", "oxford_flowers", "food101", "imagenet", "oxford_pets",
    "stanford_cars", "sun397", "ucf101",
)  # fmt: skip
SHIFTED = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
LAST = "SimNL"
ORACLE = "oracle-test"
PROTOCOLS = {  # from the fewest labels seen in the choice to the most
    "no-val": "nothing is selected: last epoch, initial hyper-parameters",
    "held-shot": "hyper-parameters are chosen on one of the K images per class, then all K are fitted",
    "fewshot-val": "epoch and hyper-parameters are chosen on min(K, 4) more images per class",
    "full-val": "epoch and hyper-parameters are chosen on the data set's whole validation split",
    ORACLE: "epoch and hyper-parameters are chosen on the test images: an upper bound, no fair comparison",
}
PRESETS = {
    "repaired": "the mistakes of the authors' code that move figures are mended",
    "official": "the authors' code as it is",
}


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        ci: name of the interval.
        methods, datasets: the names to show, in this order; empty: all.
        sources: full names of published sources, most preferred first.
        comparable: show published figures alone whose protocol is known to equal that of the runs.
        all_runs: show runs with options of their own, wrong labels or a part of the classes in every layout.
        preset: the preset whose prompts the layout `prompts` shows.
        calibrator: what the layout `metrics` shows figures after.
    """

    ci: str = "t"
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    sources: tuple[str, ...] = sources_of(ORDER)
    comparable: bool = False
    all_runs: bool = False
    preset: str = "repaired"
    calibrator: str = "temperature"


def in_order(names: Iterable[str], order: Sequence[str], *first: Callable[[str], object]) -> list[str]:
    """Names without repetition: those of an order as it has them, then the others by what `first` says of them, then by
    name."""
    rank = {name: place for place, name in reversed(list(enumerate(order)))}
    return sorted(set(names), key=lambda name: (rank.get(name, len(order)), *(key(name) for key in first), name))


def method_order(methods: Iterable[str], asked: Sequence[str] = ()) -> list[str]:
    """Methods in the order asked for; else zero-shot first, SimNL last, and the others by name."""
    return in_order(methods, asked, lambda m: m != ZEROSHOT, lambda m: m == LAST, str.lower)


def dataset_order(datasets: Iterable[str], request: Request) -> list[str]:
    """Data sets in the order asked for; else in the paper's order, then by name."""
    return in_order(datasets, request.datasets or ELEVEN)


def ordered(rows: Sequence[GridRow], request: Request) -> list[GridRow]:
    """Grid rows in the order of their methods."""
    order = method_order((row.method for row in rows), request.methods)
    return sorted(rows, key=lambda row: order.index(row.method))


def usual_n(rows: Sequence[GridRow]) -> int | None:
    """The commonest number of seeds."""
    counts = Counter(stat.n for row in rows for stat in row.stats.values())
    return max(counts, key=lambda n: (counts[n], n)) if counts else None


def percent(share: float) -> str:
    """`30 %`."""
    return f"{100 * share:g} %"


def unlike_standard(
    record: dict, split: str = "", classes: str = "{} classes", noise: str = "{} wrong labels"
) -> list[str]:
    """What is not as in a standard run: an own split, a part of the classes, wrong labels, each in the words given."""
    origin, part, share = record.get("split_origin"), record.get("subsample_classes"), record.get("label_noise")
    said = [
        split.format(origin) if origin not in (None, "standard") else "",
        classes.format(part) if part not in (None, "all") else "",
        noise.format(percent(share)) if share else "",
    ]
    return [part for part in said if part]


def run_title(record: dict) -> str:
    """`RN50, repaired, fewshot-val`, and what is not as in a standard run."""
    return ", ".join([record["backbone"], record["preset"], record["protocol"], *unlike_standard(record, "own split")])


def place_text(record: dict) -> str:
    """`DTD, 16 shots`."""
    return f"{dataset_name(record['dataset'])}, {shots_in_words(record['shots'])}"


def setting_text(record: dict) -> str:
    """Backbone, weights, preset, protocol, and whatever is not as in a standard run."""
    weights, fingerprint = record.get("weights", ""), str(record.get("weights_fingerprint", ""))[:8]
    detail = ", ".join(filter(None, [weights and f"weights {weights}", fingerprint]))
    split, classes = "split {}: own splits, not the standard ones", "the {} half of the classes"
    parts = [
        f"Backbone {record['backbone']}" + (f" ({detail})" if detail else ""),
        f"preset {record['preset']}",
        f"protocol {record['protocol']}",
        *(["selected on the test images: an upper bound"] if record["protocol"] == ORACLE else []),
        *unlike_standard(record, split, classes, "{} of the training labels wrong"),
    ]
    return "; ".join(parts) + "."


def fewer_images(records: Sequence[dict]) -> list[str]:
    """A sentence that says where classes had fewer training images than shots; none where all had enough."""
    found = {(r["dataset"], r["shots"]): images_text(r) for r in records if images_text(r)}
    places = [f"{dataset_name(name)} at {shots_in_words(k)}: {images}" for (name, k), images in sorted(found.items())]
    return [f"Fewer training images than shots: {'; '.join(places)}."] if places else []


def runs_caption(first: dict, records: Sequence[dict]) -> list[str]:
    """What a table says of its runs: their setting, too few training images, and what the marks of methods mean."""
    return [setting_text(first), *fewer_images(records), *sight_notes(records)]


def by_value(records: Sequence[dict], value: Callable[[dict], str]) -> str:
    """`template (CLAP, TaskRes); cupl+template (APE)`; the value alone where all have the same."""
    methods: dict[str, list[str]] = {}
    for record in records:
        methods.setdefault(value(record), []).append(display_name(record["method"]))
    if len(methods) == 1:
        return next(iter(methods)) or "not recorded"
    return "; ".join(f"{v or 'not recorded'} ({', '.join(sorted(set(m)))})" for v, m in sorted(methods.items()))


def common_caption(records: Sequence[dict], rows: Sequence[GridRow], request: Request) -> list[str]:
    """The sentences on setting, prompts, views, seeds and interval."""
    seeds = sorted({seed for row in rows for stat in row.stats.values() for seed in stat.by_seed})
    views = by_value(records, lambda r: ", ".join(f"{k} {count}" for k, count in sorted(r.get("views", {}).items())))
    return [
        *runs_caption(records[0], records),
        f"Prompts: {by_value(records, prompts_text)}.",
        f"Views of a training image: {views}.",
        f"Mean of n = {usual_n(rows)} seeds, where a cell does not say otherwise; seeds {' '.join(map(str, seeds))}. "
        f"±: half width of the 95 % interval ({CI_METHODS[request.ci]}); none for one seed.",
    ]


def place_in_csv(layout: str, row: GridRow, **place: object) -> dict[str, object]:
    """Where a figure stands, for csv; what `place` says of setting and shots counts before the row's first run."""
    first = own_setting(row.first)
    return {
        "layout": layout,
        "method": row.method,
        "row": row.label,
        **{key: value for key, value in place.items() if key not in SETTING},
        "shots": place.get("shots", first.get("shots")),
        **{key: place.get(key, first.get(key, "")) for key in SETTING},
    }


def figure_in_csv(name: str, stat: Stat) -> dict[str, object]:
    """A figure of this name for csv, with its interval."""
    return {name: stat.mean, "ci95": stat.half, "interval": stat.ci, "n": stat.n}


def tidy(layout: str, row: GridRow, stat: Stat | None, ci: str, **place: object) -> dict[str, object]:
    """One figure of ours for csv, in full precision."""
    return {
        **place_in_csv(layout, row, **place),
        "prompts": prompts_text(row.first),
        "options": options_text(row.first),
        "accuracy": stat and stat.mean,
        "ci95": stat and stat.half,
        "interval": ci,
        "images": stat and stat.images,
        "n": stat.n if stat else 0,
        "seeds": stat and " ".join(map(str, stat.by_seed)),
        "marks": stat and stat.audit,
    }


def block_title(key: Any, others: int = 0) -> str:
    """The title of the block of a number of shots, of a data set, or of the average over the others."""
    if isinstance(key, int):
        return shots_in_words(key)
    return f"Average over {others} data sets" if key == AVERAGE else key and dataset_name(key)


def average_caption(n: int, what: str) -> str:
    """The sentence that says how averages are made."""
    return f"Average: over all {n} {what} and the seeds that all of them have, of complete rows alone."


def average_of(stats: Sequence[Stat | None], ci: str, how: Callable[[Sequence[float]], float] = mean) -> Stat | None:
    """The mean over the columns of each seed that all columns have; None for an incomplete row. Of one: this one."""
    whole = [stat for stat in stats if stat is not None]
    if len(stats) < 2 or len(whole) < len(stats):
        return whole[0] if len(stats) == len(whole) == 1 else None
    seeds = sorted(set.intersection(*(set(stat.by_seed) for stat in whole)))
    averages = {seed: how([stat.by_seed[seed] for stat in whole]) for seed in seeds}
    split, marks = " ".join(stat.split for stat in whole), marks_in_order("".join(stat.audit for stat in whole))
    return Stat(averages, ci, split, ranked=whole[0].ranked, audit=marks) if seeds else None


def add_average(
    rows: Sequence[GridRow], name: str, over: Sequence[Any], ci: str, how: Callable[[Sequence[float]], float] = mean
) -> None:
    """Give each complete row its average over some columns."""
    for row in rows:
        stat = average_of([row.stats.get(column) for column in over], ci, how)
        row.stats |= {name: stat} if stat else {}


def with_average(datasets: Sequence[str]) -> dict[str, Sequence[str]]:
    """The data sets of each block: one by one, and where there are several, those of their average."""
    return {name: [name] for name in datasets} | ({AVERAGE: datasets} if len(datasets) > 1 else {})


def over_data_sets(rows: Sequence[GridRow], datasets: Sequence[str], ci: str) -> dict[str, list[GridRow]]:
    """Rows with columns (data set, column) as those of each data set, and where there are several, of their average."""
    blocks = {}
    for key, names in with_average(datasets).items():
        found = []
        for row in rows:
            columns = dict.fromkeys(column for _, column in row.stats)
            stats = {c: average_of([row.stats.get((name, c)) for name in names], ci) for c in columns}
            found.append(replace(row, stats={column: stat for column, stat in stats.items() if stat}))
        blocks[key] = [row for row in found if row.stats]
    return blocks
