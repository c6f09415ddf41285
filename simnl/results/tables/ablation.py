"""Layout `ablation`: a method's parts on and off, and the difference to the full method over the same draws.

Parts follow from the options in a run's record and from the method's defaults. A part is switched by a value that turns
it on or off; any other value of its key (a weight of 2, say) is a setting that all runs of a table share, as all other
options are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from simnl.numbers import shots_in_words
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Line, Listing
from simnl.results.tables.model import Stat, figure, text
from simnl.results.tables.paired import baseline_by_draw, difference_cell, draw_of
from simnl.results.tables.records import GridRow, by_setting, grid, node_of, options_text, split_by
from simnl.runs.names import display_name

# Keys of the method's node that switch its parts; beside them an empty file of CuPL sentences.
KEYS = (
    "ADAPTERS", "REWEIGHT_POSITIVE", "REWEIGHT_NEGATIVE", "RERANK_WEIGHT", "CONSISTENCY_WEIGHT", "NEGATIVE_LOSS",
    "CUPL_WEIGHT",
)  # fmt: skip
CUPL_FILE = "PROMPTS.CUPL"
ADAPTERS = ("positive-text", "positive-cache", "negative-text", "negative-cache")
TOGETHER = {"adapters": ADAPTERS, "reweighting": ("positive weights", "negative weights")}


@cache
def defaults(method: str) -> dict:
    """The method's default config; empty for one without these parts, or not of this program."""
    from simnl.studies.definitions import defaults_of  # imports every trainer, which most tables do not need

    try:
        found = defaults_of(method)
    except KeyError:
        return {}
    return found if set(KEYS) <= set(found) else {}


def parts_of(record: dict) -> dict[str, bool]:
    """Whether each part was on."""
    standard, node = defaults(record["method"]), node_of(record)
    value = {key: record["options"].get(node + key, standard[key]) for key in KEYS}
    has_cupl = "cupl" in record.get("prompts", ()) and record["options"].get(CUPL_FILE) != ""
    return {
        **{name: name in value["ADAPTERS"] for name in standard["ADAPTERS"]},
        "positive weights": bool(value["REWEIGHT_POSITIVE"]),
        "negative weights": bool(value["REWEIGHT_NEGATIVE"]),
        "re-ranking": value["RERANK_WEIGHT"] != 0,
        "consistency": value["CONSISTENCY_WEIGHT"] != 0,
        "Eq. 18": value["NEGATIVE_LOSS"] != "none",
        "templates": not has_cupl or value["CUPL_WEIGHT"] < 1,
        "CuPL": has_cupl and value["CUPL_WEIGHT"] > 0,
    }


def _with_options(record: dict, options: dict) -> dict:
    """A run's record as it would be with these options."""
    prompts = list(record.get("prompts", ()))
    if record["options"].get(CUPL_FILE) == "":  # what it would have found is not known; most data sets have a file
        prompts.append("cupl")
    return {**record, "options": options, "prompts": prompts}


def switches(record: dict) -> list[str]:
    """The options of a run that, each for itself, turn a part on or off."""
    full = parts_of(_with_options(record, {}))
    own = [key for key in record["options"] if key == CUPL_FILE or key.removeprefix(node_of(record)) in KEYS]
    return [k for k in own if parts_of(_with_options(record, {k: record["options"][k]})) != full]


@dataclass(frozen=True)
class Family:
    """Runs that differ in their parts alone. `options` are those of the full method, or None where it was not run."""

    options: dict | None
    records: list[dict]

    def is_full(self, record: dict) -> bool:
        """True for a run of the full method."""
        return record["options"] == self.options

    def changed(self, record: dict) -> list[str]:
        """The parts that are not as in the full method, in the order of the columns."""
        full = parts_of(_with_options(record, self.options or {}))
        return [name for name, on in parts_of(record).items() if on != full[name]]

    def words(self, record: dict) -> str:
        """`without re-ranking, with Eq. 18`; empty for the full method."""
        on, changed = parts_of(record), self.changed(record)
        lost, added = [name for name in changed if not on[name]], [name for name in changed if on[name]]
        for whole, names in TOGETHER.items():
            if set(names) <= set(lost):
                lost = [whole, *(name for name in lost if name not in names)]
        parts = {"without": lost, "with": added}
        return ", ".join(f"{word} {', '.join(names)}" for word, names in parts.items() if names)

    def rows(self, ci: str) -> list[GridRow]:
        """A row per combination of parts, the full method first; data sets with and without CuPL sentences share it."""
        order = list(parts_of(self.records[0]))
        changed = {id(r): [order.index(name) for name in self.changed(r)] for r in self.records}
        rows = grid(self.records, lambda r: r["dataset"], ci, self.words, prompts=lambda r: "")
        return sorted(rows, key=lambda row: (len(changed[id(row.first)]), changed[id(row.first)], row.label))

    def baseline(self) -> tuple[dict[tuple, dict], str]:
        """The runs of the full method by draw; where there are none to compare with, the sentence that says why."""
        if self.options is None:
            return {}, "Difference: none, since the full method was not run with these options."
        try:
            return baseline_by_draw(self.records, self.is_full), ""
        except ValueError as error:  # two full methods: each has its row
            return {}, f"Difference: none. {error}"

    def datasets(self, request: Request) -> list[str]:
        """The data sets of the runs, in their order."""
        return common.dataset_order({record["dataset"] for record in self.records}, request)


def families(records: Sequence[dict]) -> Iterator[Family]:
    """The families: each full method with the runs that lack parts of it, on its data sets; then runs without a full
    method.

    Where all runs share a switch, as those of a study that was started with one, the full method has it, too.
    """
    lacking = [record for record in records if switches(record)]
    taken: set[int] = set()
    for full in split_by([r for r in records if not switches(r)], lambda r: _rest(r, ())):
        members = [r for r in _beside(full, lacking) if _rest(r) == _rest(full[0], switches(r))]
        taken |= set(map(id, members))
        if members:
            yield Family(full[0]["options"], [*full, *members])
    for orphans in split_by([r for r in lacking if id(r) not in taken], _rest):
        yield from _of_shared_switches(orphans)


def _of_shared_switches(records: Sequence[dict]) -> Iterator[Family]:
    """The runs whose options are the ones that all have, with the runs beside them; then the rest."""
    first, *others = (record["options"] for record in records)
    shared = {key: value for key, value in first.items() if all(o.get(key) == value for o in others)}
    full = [record for record in records if record["options"] == shared]
    lacking = [record for record in records if record["options"] != shared]
    members = _beside(full, lacking)
    if members:
        yield Family(shared, [*full, *members])
    left = [record for record in lacking if record not in members] if members else list(records)
    if left:
        yield Family(None, left)


def _beside(full: Sequence[dict], records: Iterable[dict]) -> list[dict]:
    """The records on the data sets of the full method."""
    places = {record["dataset"] for record in full}
    return [record for record in records if record["dataset"] in places]


def _rest(record: dict, left_out: Sequence[str] | None = None) -> str:
    """The options but those that switch parts (by default the run's own), as text."""
    left_out = switches(record) if left_out is None else left_out
    return json.dumps({k: v for k, v in record["options"].items() if k not in left_out}, sort_keys=True)


# ---------------------------------------------------------------------- the table

ON, OFF, SOME = "✓", "✗", "✓✗"
MARKS = {True: ON, False: OFF, None: SOME}
HEADERS = {
    "positive weights": "weights+", "negative weights": "weights-",
    **dict(zip(ADAPTERS, ("text+", "cache+", "text-", "cache-"), strict=True)),
}  # fmt: skip
ABOUT = (
    f"{ON} on, {OFF} off. text+, cache+, text-, cache-: the positive and negative text and cache adapters learn (off: "
    "they stay as they start); weights+, weights-: instance reweighting in the positive and the negative cache; "
    "re-ranking, consistency, Eq. 18: losses beside cross-entropy; templates, CuPL: prompts of the positive text "
    "classifier."
)
DIFFERENCE = (
    "Difference: mean of the accuracy minus that of the full method over the draws (data set, shots, seed, split) that "
    "both have, with the interval of these differences"
)


def _lines(family: Family, request: Request) -> list[Line]:
    """The rows of each data set, and where there are several, of their average; none for a row without all of them."""
    rows, datasets = family.rows(request.ci), family.datasets(request)
    full = {draw: run["accuracy"] for draw, run in family.baseline()[0].items()}
    n, lines = common.usual_n(rows), []
    for name, over in common.with_average(datasets).items():
        for row in rows:
            stat = common.average_of([row.stats.get(one) for one in over], request.ci)
            if stat is None:
                continue
            is_full = family.is_full(row.first)
            difference = None if is_full else _difference([row.runs[one] for one in over], full, request.ci)
            parts = [parts_of(row.runs[one][-1]) for one in over]  # a data set may lack CuPL sentences
            same = {part: on if all(of[part] == on for of in parts) else None for part, on in parts[0].items()}
            cells = {HEADERS.get(part, part): text(MARKS[on]) for part, on in same.items()}
            cells["accuracy"] = figure(stat, n)
            cells["difference"] = text("") if is_full else difference_cell(difference, n)
            tidy = common.tidy("ablation", row, stat, request.ci, dataset=name) | {
                **same,
                "full": is_full,
                "difference": difference and difference.mean,
                "difference_ci95": difference and difference.half,
                "difference_n": difference.n if difference else 0,
            }
            lines.append(Line(row.shown, cells, [tidy], common.block_title(name, len(datasets))))
    return lines


def _difference(runs: Sequence[Sequence[dict]], full: dict[tuple, float], ci: str) -> Stat | None:
    """Differences to the full method by draw, of the runs of each data set; None where one shares no draw with it."""
    shared = [{draw_of(r): r["accuracy"] for r in of_set if draw_of(r) in full} for of_set in runs]
    every = {draw: accuracy - full[draw] for of_set in shared for draw, accuracy in of_set.items()}
    return Stat(every, ci) if all(shared) else None


def _caption(family: Family, lines: Sequence[Line], request: Request) -> list[str]:
    first, datasets, (baseline, why_none) = family.records[0], family.datasets(request), family.baseline()
    own = () if family.options is not None else switches(first)
    shared = options_text({**first, "options": first["options"] if family.options is None else family.options}, own)
    full = [record for record in family.records if family.is_full(record)]
    differing = any(cell.text == SOME for line in lines for cell in line.cells.values())
    several = len(datasets) > 1
    return [
        ABOUT,
        *([f"{SOME}: on for some of the data sets, off for the others."] if differing else []),
        *([f"All runs with {shared}."] if shared else []),
        *common.common_caption(full or family.records, family.rows(request.ci), request),
        DIFFERENCE + (", over all data sets." if several else ".") if baseline else why_none,
        *([common.average_caption(len(datasets), "data sets")] if several else []),
    ]


ABLATION = Listing(
    groups=lambda records, request: [
        family
        for group in by_setting([r for r in records if defaults(r["method"])], also=["method", "shots"])
        for family in families(group)
    ],
    lines=_lines,
    title=lambda family: (
        f"Ablation of {display_name(family.records[0]['method'])}, {shots_in_words(family.records[0]['shots'])}"
    ),
    setting=lambda family: family.records[0],
    unit="accuracy in %",
    caption=_caption,
    marked=True,
    missing="No run of SimNL without one of its parts. Run some first, e.g.\n"
    "  bash scripts/simnl/ablation.sh shapes 16",
)
