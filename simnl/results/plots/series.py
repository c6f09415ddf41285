"""What is drawn: accuracies of runs that differ in nothing but the seed, kept apart by setting."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import matplotlib
from matplotlib.figure import Figure

from simnl.numbers import shots_in_words
from simnl.results.plots.names import CURVES
from simnl.results.plots.style import RC
from simnl.results.published import ZEROSHOT, audit
from simnl.results.stats import mean
from simnl.results.tables.common import LAST, method_order, unlike_standard
from simnl.results.tables.model import Stat
from simnl.results.tables.records import (
    by_seed,
    by_setting,
    marked_name,
    marks_of_run,
    sight_notes,
    sight_of,
    split_by,
)
from simnl.runs.names import dataset_name, display_name

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)  # what tells figures apart
OWN_SPLIT = " (own split)"
SCORE = "energy"


class Line(NamedTuple):
    """A line of a figure: its method, and what the legend says of a second line of the method."""

    method: str
    more: str = ""


Table = dict[tuple[Any, Line, float], Stat]  # figures by (panel, line, x)


def _by_setting(records: Sequence[dict], but: Sequence[str]) -> dict[str, list[dict]]:
    """Records by what may not be mixed in a figure, under a text that says it, the largest group first. A split of our
    own is told in the name of the data set instead (`by_dataset`)."""
    groups = by_setting(records, without=("split_origin", *but))
    texts = [describe_setting(group[0], but) for group in groups]
    count = Counter(texts)
    for i, group in enumerate(groups):
        if count[texts[i]] > 1:  # they differ in their weights
            weights = str(group[0].get("weights_fingerprint", group[0].get("weights", "")))[:8]
            texts[i] += f", weights {weights or 'unknown'}"
    return dict(sorted(zip(texts, groups, strict=True), key=lambda pair: (-len(pair[1]), pair[0])))


def describe_setting(record: dict, but: Sequence[str] = ()) -> str:
    """The setting of a record for a figure's title, e.g. `RN50, preset repaired, protocol fewshot-val`."""
    unlike = unlike_standard({**record, **dict.fromkeys(but)}, "", "{} classes", "{} wrong labels")[::-1]
    said = [f"{key} {record[key]}" for key in ("preset", "protocol") if key not in but]
    return ", ".join([record["backbone"], *said, *unlike])


def by_dataset(record: dict) -> tuple:
    """The place of a record: its data set, and whether its split is our own."""
    own = record.get("split_origin", "standard") != "standard"
    return (record["dataset"] + (OWN_SPLIT if own else ""),)


def by_place(record: dict) -> tuple:
    """The same, and its number of shots."""
    return (*by_dataset(record), record["shots"])


def place_name(place: tuple) -> str:
    """A place in words."""
    name, own, _ = place[0].partition(OWN_SPLIT)
    return ", ".join([dataset_name(name) + own, *map(shots_in_words, place[1:])])


def legend_names(records: Iterable[dict]) -> dict[str, str]:
    """What a legend calls the methods of records: as tables do, with the marks of tables."""
    marks: dict[str, str] = defaultdict(str)
    names: dict[str, str] = {}
    for record in sorted(records, key=sight_of):  # a method that has runs of both kinds is marked
        marks[record["method"]] += marks_of_run(record)
        names[record["method"]] = marked_name(record)
    return {method: name + audit.raised(audit.ordered(marks[method])) for method, name in names.items()}


def notes_on(records: Sequence[dict], published: Iterable[tuple[str, str]] = ()) -> list[str]:
    """What the marks of a figure mean, in the words of tables.

    Args:
        records: of the runs that are drawn.
        published: the letters of the published figures that are drawn, and their methods.
    """
    marked = [*((marks_of_run(r), r["method"]) for r in records), *published]
    return sight_notes(records) + audit.footnotes((letters, display_name(method)) for letters, method in marked)


def few_enough(table: Table, most: int, title: str) -> tuple[list[str], Table]:
    """The methods to draw where there are more than can be told apart, SimNL, zero-shot CLIP, and the best others; and
    their figures.

    Methods are compared with the mean of each place that they have, by their first lines where they have them.

    Args:
        table: figures by (panel, line, x).
        most: the largest number of methods; 0: all.
        title: the title of the figure, for the note on what is left out.
    """
    plain_last = sorted(table.items(), key=lambda entry: entry[0][1].more == "")
    accuracies = {(line.method, (panel, x)): stat.mean for (panel, line, x), stat in plain_last}
    by_place, by_method = defaultdict(list), defaultdict(list)
    for (_, place), value in accuracies.items():
        by_place[place].append(value)
    for (method, place), value in accuracies.items():
        by_method[method].append(value - mean(by_place[place]))
    methods = method_order(by_method)
    if not most or len(methods) <= most:
        return methods, table
    best = sorted(methods, key=lambda m: (m not in (LAST, ZEROSHOT), -mean(by_method[m]), m))[:most]
    log.warning(
        "%s: %d of %d methods are drawn; left out: %s. tools/plot.py --all draws all, --methods those that you name.",
        *(title, most, len(methods), ", ".join(display_name(m) for m in methods if m not in best)),
    )
    methods = [m for m in methods if m in best]
    return methods, {place: stat for place, stat in table.items() if place[1].method in methods}


def stats(records: Iterable[dict], key: Callable[[dict], K], ci: str = "t") -> dict[K, Stat]:
    """One figure per key, of the runs that `drawn` takes."""
    return {name: stat_of(runs, ci) for name, runs in drawn(records, key).items()}


def stat_of(runs: Iterable[dict], ci: str = "t") -> Stat:
    """The figure of runs that differ in nothing but the seed."""
    return Stat({record["seed"]: record["accuracy"] for record in runs}, ci)


def drawn(records: Iterable[dict], key: Callable[[dict], K]) -> dict[K, list[dict]]:
    """The runs of one config and one split, one per seed, by key.

    Where runs of several configs or splits have the same key (older records, for example), those of the one with most
    seeds are taken, and a warning names the others.
    """
    groups: dict[K, dict[tuple, list]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        groups[key(record)][record["config_hash"], str(record.get("split_hash", ""))].append(record)
    result = {}
    for name, configs in groups.items():
        runs = {config: list(by_seed(members).values()) for config, members in sorted(configs.items())}
        chosen = max(runs, key=lambda config: len(runs[config]))
        result[name], first = runs[chosen], runs[chosen][0]
        if first["method"] == ZEROSHOT:  # runs with the same figures, as at other shots: leaving them out loses nothing
            figures = {r["accuracy"] for r in runs[chosen]}
            runs = {config: of for config, of in runs.items() if not {r["accuracy"] for r in of} <= figures}
        left = sorted(runs.keys() - {chosen})
        if left:
            others = sorted({config for config, _ in left if config != chosen[0]}) or ["runs on another split"]
            log.warning(
                "%s on %s, %s: there are runs of several configs; config %s is drawn, left out: %s",
                *(first["method"], by_dataset(first)[0], shots_in_words(first["shots"]), chosen[0], ", ".join(others)),
            )
    return result


def average(parts: Sequence[Stat]) -> Stat:
    """The average over data sets, seed by seed; of unequal seeds, the average of the means, without an interval."""
    seeds = {tuple(part.by_seed) for part in parts}
    if len(seeds) == 1:
        return Stat({seed: mean([part.by_seed[seed] for part in parts]) for seed in seeds.pop()}, parts[0].ci)
    return Stat({0: mean([part.mean for part in parts])}, parts[0].ci)


@dataclass(frozen=True)
class Wanted:
    """What was asked for beyond the records.

    Attributes:
        ci: the name of the interval.
        curves: the most curves in a panel, SimNL, zero-shot CLIP and the best; 0: all.
        published: draw published curves beside ours.
        score: the score of unknown classes; empty: the one that a run chose, and `SCORE` for figures of several runs.
        classes: the most classes that a figure of one run shows; 0: as many as that figure usually shows.
        projection: how features are brought into two dimensions, `pca` or `tsne`.
    """

    ci: str = "t"
    curves: int = CURVES
    published: bool = False
    score: str = ""
    classes: int = 0
    projection: str = "tsne"


USUAL = Wanted()


@dataclass(frozen=True)
class Kind:
    """A kind of figure that is made from records; called, it draws them.

    Attributes:
        what: the name of what it draws, for the error where there is nothing.
        usable: the records that can be drawn, of all.
        draw: the figure of the records of one setting and place, from its title, these records and what was asked for;
            None where there is nothing to compare.
        needed: why there is nothing to draw, for the error; `{score}` stands for the score that was asked for.
        command: the command that makes such runs.
        but: keys of the setting that may differ within a figure.
        apart: the place of a record, `by_dataset` or `by_place`; each has a figure of its own. None: all are in one.
    """

    what: str
    usable: Callable[[Sequence[dict]], list[dict]]
    draw: Callable[[str, list[dict], Wanted], Figure | None]
    needed: str
    command: str
    but: tuple[str, ...] = ()
    apart: Callable[[dict], tuple] | None = None

    def __call__(self, records: Sequence[dict], wanted: Wanted = USUAL) -> dict[str, Figure]:
        """Figures by title, of each setting its own; a ValueError says that there is nothing to draw."""
        figures: dict[str, Figure | None] = {}
        with matplotlib.rc_context(RC):
            for setting, group in _by_setting(self.usable(records), self.but).items():
                for part in split_by(group, self.apart) if self.apart else [group]:
                    title = f"{place_name(self.apart(part[0]))}, {setting}" if self.apart else setting
                    figures[title] = self.draw(title, part, wanted)
        drawn = {title: figure for title, figure in figures.items() if figure}
        if not drawn:
            needed = self.needed.format(score=wanted.score or SCORE)
            raise ValueError(f"There is nothing to draw {self.what} from: {needed}. Make some, e.g.\n  {self.command}")
        return drawn


@dataclass(frozen=True)
class RunKind:
    """A kind of figure that is made from one run; called, it draws it.

    Attributes:
        name: its name, for the error where there are several runs.
        draw: the title and the figure of a run, from its record and what was asked for.
    """

    name: str
    draw: Callable[[dict, Wanted], tuple[str, Figure]]

    @matplotlib.rc_context(RC)
    def __call__(self, records: Sequence[dict], wanted: Wanted = USUAL) -> dict[str, Figure]:
        """The figure by its title; a ValueError says that there are several runs, and names some folders."""
        if len(records) > 1:
            folders = "\n".join(f"  {Path(r['path']).parent}" for r in records[:5])
            raise ValueError(
                f"{self.name} shows one run, and there are {len(records)}. Name a run's folder, e.g. one of\n{folders}"
            )
        title, figure = self.draw(records[0], wanted)
        return {title: figure}


def title_of_run(record: dict, what: str, *more: str) -> str:
    """The title of a figure of one run: the run and what is said of it, its setting, and more lines."""
    where = (
        f"{record['method']} on {record['dataset']}, {shots_in_words(record['shots'])}, seed {record['seed']}: {what}"
    )
    return "\n".join(filter(None, (where, describe_setting(record), *more)))
