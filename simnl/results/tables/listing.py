"""What every layout declares, and one of one row per line: the lines of a table, its columns and its caption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from simnl.results.stats import interval, mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Cell, Table, mark_columns, text
from simnl.results.tables.records import SETTING, by_seed, marked_name, options_text, prompts_text, split_by

Columns = dict[str, Callable[[Any], Cell]]


class Line(NamedTuple):
    """A line that knows its cells: what its row is called, a cell by header, csv's dicts, and the block's title."""

    label: str
    cells: dict[str, Cell]
    tidy: list[dict]
    block: str = ""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How records become tables; how a group becomes a table is said by `Listing` and `Comparison`.

    Attributes:
        title: what a table is of, from its group.
        groups: the records of each table, or what was made of them; by default all records make one table.
        setting: the record whose setting stands behind the title, from the group; {}: none does.
        unit: of the figures, for the title.
        marked: the best figures of a column are marked.
        missing: the error where there is nothing to show.
    """

    title: Callable[[Any], str]
    groups: Callable[[Sequence[dict], Request], list] = lambda records, request: [records]
    setting: Callable[[Any], dict] = lambda group: group[0]
    unit: str = ""
    marked: bool = False
    missing: str = ""

    def tables(self, records: Sequence[dict], request: Request) -> list[Table]:
        """One table per group; a ValueError says that there is nothing to show."""
        return [self.table(group, request) for group in self.some(self.groups(records, request))]

    def table(self, group: Any, request: Request) -> Table:
        """The table of a group."""
        raise NotImplementedError

    def some(self, found: list) -> list:
        """What was found; a ValueError where that is nothing and the layout says so."""
        if self.missing and not found:
            raise ValueError(self.missing)
        return found

    def titled(self, group: Any) -> str:
        """The title of a group's table, with its setting and unit."""
        first = self.setting(group)
        where = f" ({common.run_title(first)})" if first else ""
        return self.title(group) + where + (f": {self.unit}" if self.unit else "")


def own_columns(group: Any, lines: Sequence[Line]) -> Columns:
    """The method, and the cells that lines know."""
    cells = {header: lambda line, header=header: line.cells[header] for header in lines[0].cells}
    return {"method": lambda line: text(line.label), **cells}


@dataclass(frozen=True, kw_only=True)
class Listing(Layout):
    """How records become tables of one row per line.

    Attributes:
        caption: the sentences below a table, from its group, its lines and what was asked for.
        columns: {header: the cell of a line}, from the group and its lines; by default each is a `Line`.
        lines: the lines of a table, from its group and what was asked for; by default the group has them. A line is a
            `Line`, or a dict of which csv has everything but the key `label`.
        shown: whether a line has a row; csv has all lines.
    """

    caption: Callable[[Any, list, Request], list[str]]
    columns: Callable[[Any, list], Columns] = own_columns
    lines: Callable[[Any, Request], list] = lambda group, request: group
    shown: Callable[[Any], bool] = lambda line: True

    def table(self, group: Any, request: Request) -> Table:
        """The table of a group."""
        lines = self.lines(group, request)
        columns = self.columns(group, lines)
        bodies: dict[str, list] = {}
        for line in filter(self.shown, lines):
            title = line.block if isinstance(line, Line) else ""
            bodies.setdefault(title, []).append([cell(line) for cell in columns.values()])
        blocks = [
            Block(list(columns), mark_columns(body) if self.marked else body, title)
            for title, body in (bodies or {"": []}).items()
        ]
        tidy = [
            {key: value for key, value in one.items() if key != "label"}
            for line in lines
            for one in (line.tidy if isinstance(line, Line) else [line])
        ]
        return Table(self.titled(group), self.caption(group, lines, request), blocks, tidy, self.marked)


# ---------------------------------------------------------------------- cells of a line


def words(key: str, otherwise: str = "") -> Callable[[Mapping], Cell]:
    """The cells of a text; `otherwise` is shown where it is empty."""
    return lambda line: text(line[key] or otherwise)


def number(key: str, decimals: int = 0) -> Callable[[Mapping], Cell]:
    """The cells of a number with its thousands apart."""
    return figure_of(key, decimals=decimals, grouped=True)


def figure_of(
    key: str, factor: float = 1, decimals: int = 2, half: str = "", grouped: bool = False
) -> Callable[[Mapping], Cell]:
    """The cells of a figure times a factor, with the half width of its interval where `half` names its key; missing
    where a line does not have it."""

    def cell(line: Mapping) -> Cell:
        value, width = line[key], line.get(half)
        if value in (None, ""):
            return Cell()
        return Cell(factor * value, None if width is None else factor * width, decimals=decimals, grouped=grouped)

    return cell


# ---------------------------------------------------------------------- lines of one method and config


def labelled_runs(records: Sequence[dict], request: Request) -> list[tuple[str, list[dict]]]:
    """The runs of each method and config, one per seed, with a label that tells configs apart."""
    found, ways = [], (prompts_text, lambda record: record["config_hash"])
    for alike in split_by(records, lambda r: (r["method"], options_text(r))):
        told_by = [say for say in ways if len({say(record) for record in alike}) > 1]
        for group in split_by(alike, lambda r: (prompts_text(r), r["config_hash"])):
            runs = list(by_seed(group).values())
            extra = "; ".join(filter(None, [options_text(runs[0]), *(say(runs[0]) for say in told_by)]))
            found.append((marked_name(runs[0]) + (f" ({extra})" if extra else ""), runs))
    order = common.method_order((r["method"] for r in records), request.methods)
    return sorted(found, key=lambda labelled: order.index(labelled[1][0]["method"]))


def mean_line(
    layout: str, label: str, runs: Sequence[dict], figures: Sequence[Mapping[str, Any]], ci: str = "", **more: object
) -> dict[str, Any]:
    """The line of one method and config: the means of figures over its runs.

    Args:
        layout, label: the name of the layout, and that of the row.
        runs: the runs of the line, one per seed.
        figures: those of each run. Figures that are texts are joined; numbers that a run lacks do not count.
        ci: the name of the interval, whose half width stands under `<name> ci`; empty: none.
        more: what else csv says of the line.
    """
    first = runs[0]
    line: dict[str, Any] = {
        "layout": layout,
        **{key: first[key] for key in ("method", "dataset", "shots")},
        **{key: first.get(key, "") for key in SETTING},
        "options": options_text(first),
        "prompts": prompts_text(first),
        **more,
        "n": len(runs),
        "label": label,
    }
    for name, value in figures[0].items():
        values = [of_run[name] for of_run in figures if of_run.get(name) is not None]
        if isinstance(value, str):
            line[name] = "; ".join(sorted({str(v) for v in values if v}))
            continue
        line[name] = mean(list(map(float, values))) if values else None
        if ci:
            line[f"{name} ci"] = interval(list(map(float, values)), ci) if values else None
    return line


def seeds_text(lines: Sequence[Mapping]) -> str:
    """The sentence that says over how many seeds the means are."""
    counts = sorted({line["n"] for line in lines})
    return "Figures of one seed." if counts == [1] else f"Means over {' or '.join(map(str, counts))} seeds."
