"""Accuracy over hyper-parameters: alpha, beta, lambda, tau.

A run counts for a hyper-parameter if its `options` set this one and no other of them off its standard value. Runs that
share all other options make a line; those with all at their standard values stand at it, and it is marked.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from yacs.config import CfgNode as CN

from simnl.config_names import config_file, known
from simnl.numbers import shots_in_words
from simnl.results.plots import drawing, series
from simnl.results.plots.series import Kind, Wanted
from simnl.results.plots.style import LINES, MARKERS, method_style
from simnl.results.tables.grids import PARAMETERS, given_value
from simnl.results.tables.records import name_without_split, node_of
from simnl.runs.config import assemble, find_key
from simnl.runs.names import display_name
from simnl.runs.record import config_of

WORDS = {"lam": "lambda"}  # how a hyper-parameter is written where its key shortens it
WIDE = 30  # ratio of the largest to the smallest value from which on the axis is logarithmic
STANDARD: dict[str, Any] = {"color": "#555555", "linestyle": (0, (1, 1.5)), "linewidth": 1.2}


class Line(NamedTuple):
    """The runs of a line have these in common; rest: all options but the swept ones."""

    method: str
    shots: int
    rest: tuple[tuple[str, str], ...]


def _swept(record: dict) -> dict[str, float]:
    """The `options` of a run that are swept hyper-parameters of its method, as numbers."""
    values = {node_of(record) + name: given_value(record, name) for name in PARAMETERS}
    return {key: value for key, value in values.items() if value is not None}


def _off_standard(record: dict) -> list[str]:
    """Those of them whose value is not the standard one."""
    return [key for key, value in _swept(record).items() if value != _standard_value(key, record)]


def _line(record: dict) -> Line:
    rest = {key: repr(value) for key, value in record.get("options", {}).items() if key not in _swept(record)}
    return Line(record["method"], record["shots"], tuple(sorted(rest.items())))


def _placed(records: Sequence[dict], key: str) -> Iterator[dict]:
    """The records of the panel of a key with their place there: the key, the line, and the value."""
    standard = {_line(r): _standard_value(key, r) for r in records if _off_standard(r) == [key]}
    for record in records:
        off, line = _off_standard(record), _line(record)
        value = _swept(record)[key] if off == [key] else None if off else standard.get(line)
        if value is not None:
            yield {**record, "place": (key, line, value)}


def _draw(title: str, records: Sequence[dict], wanted: Wanted) -> Figure | None:
    """A panel for each hyper-parameter, all on one scale."""
    found = {off[0]: record for record in reversed(records) if len(off := _off_standard(record)) == 1}
    if not found:
        return None
    keys = sorted(found, key=lambda key: (PARAMETERS.index(key.rsplit(".", 1)[-1]), key))
    placed = [record for key in keys for record in _placed(records, key)]
    table = series.stats(placed, lambda record: record["place"], wanted.ci)
    lines = _named({line for _, line, _ in table}, series.legend_names(records))
    several_methods = len({line.method for line in lines}) > 1

    def finish(ax: Axes, key: str, values: list[float]) -> None:
        standard = _standard_value(key, found[key])
        if standard is not None:
            ax.axvline(standard, zorder=1, **STANDARD)
        if values[0] > 0 and values[-1] / values[0] > WIDE:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter("{x:g}")
        of_method = f" of {display_name(found[key]['method'])}" if several_methods else ""
        name = key.rsplit(".", 1)[-1].lower()
        ax.set_xlabel(WORDS.get(name, name) + of_method)

    about, fill = f"{title}\n{drawing.statistics(table.values())}", drawing.curves(table, lines, finish, one_scale=True)
    legend = [*lines.values(), ("standard value", STANDARD)]
    return drawing.panelled(keys, legend, about, fill, series.notes_on(records))


def _named(lines: set[Line], shown: dict[str, str]) -> dict[Line, drawing.Look]:
    """The lines in their order, each with its name, the method as it is `shown` and shots, and what else was set where
    that tells lines apart. From the second line of a method on, its colour has another line and marker."""
    found: dict[Line, drawing.Look] = {}
    several = len({line.rest for line in lines}) > 1
    for line in sorted(lines, key=lambda line: (line.method, line.shots, str(line.rest))):
        options = ", ".join(f"{key.rsplit('.', 1)[-1].lower()} {value}" for key, value in line.rest)
        name = f"{shown[line.method]}, {shots_in_words(line.shots)}" + (f" ({options})" if several and options else "")
        look, number = method_style(line.method), sum(line.method == other.method for other in found)
        if number:
            look |= {"linestyle": LINES[number % len(LINES)], "marker": MARKERS[number % len(MARKERS)]}
        found[line] = (name, look)
    return found


def _standard_value(key: str, record: dict) -> float | None:
    """The value that the run's config has without the option; None where the configs are not this program's."""
    if record["method"] not in _known("trainers"):
        return None
    dataset = config_of(name_without_split(record))
    names = (("backbones", record["backbone"]), ("datasets", dataset), ("trainers", record["method"]))
    node, leaf = find_key(_config(names, record["shots"], record["preset"], record["protocol"]), key)
    return float(node[leaf]) if node is not None else None


@functools.cache
def _known(kind: str) -> frozenset[str]:
    """The names of configs, which are asked for once per record and key."""
    return frozenset(known(kind))


@functools.lru_cache(maxsize=1024)
def _config(names: tuple[tuple[str, str], ...], shots: int, preset: str, protocol: str) -> CN:
    files = [config_file(kind, name) for kind, name in names if name in _known(kind)]
    settings = {"DATASET.NUM_SHOTS": shots, "PRESET": preset, "PROTOCOL": protocol, "TRAINER.NAME": names[-1][1]}
    return assemble(files, settings=settings)


SENSITIVITY = Kind(
    what="sensitivity curves",
    usable=list,
    draw=_draw,
    needed=f"no run sets just one of {', '.join(PARAMETERS)} of its method",
    command="bash scripts/simnl/sensitivity.sh shapes 16",
    apart=series.by_dataset,
)
