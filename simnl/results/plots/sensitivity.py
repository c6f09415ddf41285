"""Accuracy over hyper-parameters: alpha, beta, lambda, tau.

A run counts for a hyper-parameter if its `options` set this one and no other of them off its standard value. Runs that
share all other options make a line; those with all at their standard values stand at it, and it is marked.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from yacs.config import CfgNode as CN

from simnl.config_names import config_file, known
from simnl.results.plots import series, style
from simnl.results.tables.common import shots_title
from simnl.results.tables.grids import PARAMETERS
from simnl.results.tables.model import Stat
from simnl.results.tables.records import name_without_split, node_of
from simnl.runs.config import assemble, find_key
from simnl.runs.names import display_name
from simnl.runs.record import config_of

WIDE = 30  # ratio of the largest to the smallest value from which on the axis is logarithmic
STANDARD: dict[str, Any] = {"color": "#555555", "linestyle": (0, (1, 1.5)), "linewidth": 1.2}


def swept_keys(record: dict) -> list[str]:
    """The `options` of a run that are swept hyper-parameters of its method."""
    node = node_of(record)
    return [key for key in record.get("options", {}) if key.startswith(node) and key[len(node) :] in PARAMETERS]


def off_standard(record: dict) -> list[str]:
    """The keys of `swept_keys` whose value is not the standard one."""
    return [key for key in swept_keys(record) if float(record["options"][key]) != standard_value(key, record)]


def _line(record: dict) -> tuple:
    """The method, the shots, and all options but the swept ones, which the runs of a line have in common."""
    swept = swept_keys(record)
    rest = ((key, repr(value)) for key, value in record.get("options", {}).items() if key not in swept)
    return (record["method"], record["shots"], tuple(sorted(rest)))


def _points(records: Sequence[dict], key: str, ci: str) -> dict[tuple, dict[float, Stat]]:
    """line -> {value: figure} for a key, with the runs at its standard value."""
    standard = {_line(r): standard_value(key, r) for r in records if off_standard(r) == [key]}
    placed = []
    for record in records:
        off, line = off_standard(record), _line(record)
        if off == [key]:
            placed.append({**record, "value": float(record["options"][key])})
        elif not off and standard.get(line) is not None:
            placed.append({**record, "value": standard[line]})
    table = series.stats(placed, lambda r: (_line(r), r["value"]), ci)
    return {line: {v: table[owner, v] for owner, v in sorted(table, key=str) if owner == line} for line in standard}


def _draw(title: str, records: Sequence[dict], ci: str, wanted: style.Wanted) -> Figure | None:
    """A panel per hyper-parameter."""
    found = {key for r in records if len(off_standard(r)) == 1 for key in off_standard(r)}
    if not found:
        return None
    keys = sorted(found, key=lambda key: (PARAMETERS.index(key.rsplit(".", 1)[-1]), key))
    points = {key: _points(records, key, ci) for key in keys}
    lines = sorted({line for of_key in points.values() for line in of_key}, key=lambda o: (o[0], o[1], str(o[2])))
    looks = [style.line_style(line[0], [o for o in lines if o[0] == line[0]].index(line)) for line in lines]
    methods = {line[0].upper(): line[0] for line in lines}
    drawn = [cell for of_key in points.values() for of_line in of_key.values() for cell in of_line.values()]

    def fill(ax: Axes, key: str) -> None:
        for look, line in zip(looks, lines, strict=True):
            of_line = points[key].get(line, {})
            values = sorted(of_line)
            if values:
                style.curve(ax, values, [of_line[v] for v in values], **look)
        style.limit(ax, drawn, whole=len(lines) == 1)  # the same scale in all panels
        for record in [r for r in records if off_standard(r) == [key]][:1]:
            standard = standard_value(key, record)
            if standard is not None:
                ax.axvline(standard, zorder=1, **STANDARD)
        values = [value for of_line in points[key].values() for value in of_line]
        if min(values) > 0 and max(values) / min(values) > WIDE:
            ax.set_xscale("log")
        *_, node, name = key.split(".")
        of_method = f" of {display_name(methods.get(node, node))}" if len(methods) > 1 else ""
        ax.set_xlabel(name.lower() + of_method)

    names = _names(lines, series.legend_names(records))
    named = [*zip(names, looks, strict=True), ("standard value", STANDARD)]
    return style.panelled(keys, named, f"{title}\n{style.statistics(drawn)}", fill, series.notes_on(records))


def _names(lines: Sequence[tuple], shown: dict[str, str]) -> list[str]:
    """Legend texts: method as it is `shown` and shots, and what else was set where that tells lines apart."""
    several = len({line[2] for line in lines}) > 1
    names = []
    for method, shots, rest in lines:
        options = ", ".join(f"{key.rsplit('.', 1)[-1].lower()} {value}" for key, value in rest)
        names.append(f"{shown[method]}, {shots_title(shots)}" + (f" ({options})" if several and options else ""))
    return names


def standard_value(key: str, record: dict) -> float | None:
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


sensitivity = series.Kind(
    what="sensitivity curves",
    usable=list,
    draw=_draw,
    needed=f"no run sets just one of {', '.join(PARAMETERS)} of its method",
    command="bash scripts/simnl/sensitivity.sh shapes 16",
    apart=lambda record: (series.panel_of(record),),
)
