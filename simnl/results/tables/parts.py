"""The parts of a method that a run had, and the runs that differ in these alone, for the layout `ablation`.

Parts follow from the options in a run's record and from the method's defaults. A part is switched by a value that turns
it on or off; any other value of its key (a weight of 2, say) is a setting that all runs of a table share, as all other
options are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from simnl.results.tables.records import node_of, split_by

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
