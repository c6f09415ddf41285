"""One HTML file with everything that run records say: tables, figures, runs, configs, versions.

The file holds all it needs (figures as data, styles, a script for searching and sorting) and forbids itself to load
anything, so it works from a disk, without a network. Whatever comes from records is escaped by the template.
"""

from __future__ import annotations

import base64
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from logging.handlers import BufferingHandler
from pathlib import Path
from sys import intern
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from simnl.bars import bar as progress_bar
from simnl.config_names import known
from simnl.escaping import printable
from simnl.results.plots.drawing import svg
from simnl.results.plots.of_records import RECORD_KINDS
from simnl.results.plots.series import Wanted
from simnl.results.stats import CI_METHODS
from simnl.results.tables import DEFAULT_LAYOUT, LAYOUTS, WITHOUT_RECORDS, Request, build, find_records, summarise
from simnl.results.tables.common import PRESETS, PROTOCOLS
from simnl.results.tables.fit import numeric
from simnl.results.tables.model import cell_text
from simnl.results.tables.records import options_text, prompts_text
from simnl.results.tables.render import MARKS, RULE
from simnl.runs.record import config_of
from simnl.runs.stored_config import stored_keys

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).resolve().parent / "templates"
NOT_OF_THE_CONFIG = ("SEED", "OUTPUT_DIR", "RESUME", "OPTIONS")  # differ between the runs of a config


def make_report(output: str | Path, ci: str = "t", shown: Sequence[str] = ()) -> Iterator[str]:
    """The report on all runs below a folder, as the parts of an HTML text, which is never in memory as a whole.

    Args:
        output: the folder.
        ci: the name of the interval, see `simnl.results.stats.CI_METHODS`.
        shown: folders of runs, each of one, whose own figures are drawn as well (their heads are loaded).

    Raises:
        FileNotFoundError, ValueError: no folder, no record, or no valid one.
    """
    warnings = BufferingHandler(sys.maxsize)
    warnings.setLevel(logging.WARNING)
    logger = logging.getLogger("simnl")
    logger.addHandler(warnings)
    try:
        content = _content(Path(output), ci, shown)
    finally:
        logger.removeHandler(warnings)
    notes = list(dict.fromkeys(record.getMessage() for record in warnings.buffer))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value, lines=True) if type(value) is str else value,  # Markup stays
    )
    environment.filters.update(as_text=cell_text, options=options_text, prompts=prompts_text)
    environment.globals["of_figures"] = numeric
    return environment.get_template("report.html.j2").generate(content, notes=notes)


def _content(output: Path, ci: str, shown: Sequence[str]) -> dict:
    """What the template shows, by its names there."""
    records, of_runs = find_records([output]), [find_records([folder]) for folder in shown]
    tables, absent = _tables(records, ci)
    common, configs = _configs(records)
    there = {key: {r[key] for r in records} for key in ("method", "dataset", "protocol", "preset")}
    return {
        "folder": str(output),
        "counts": {"run": len(records), "method": len(there["method"]), "data set": len(there["dataset"])},
        "interval": CI_METHODS[ci],
        "protocols": {name: text for name, text in PROTOCOLS.items() if name in there["protocol"]},
        "presets": {name: text for name, text in PRESETS.items() if name in there["preset"]},
        "tables": tables,
        "absent": absent,
        "marks": MARKS["markdown"] + RULE,
        "figures": _figures(records, ci, of_runs),
        "summary": summarise(records, ci),
        "runs": [(record, _place(record, output)) for record in records],
        "common": common,
        "configs": configs,
        "environments": _environments(records),
    }


def _tables(records: Sequence[dict], ci: str) -> tuple[list[tuple[str, list]], dict[str, str]]:
    """(layout, tables) of all layouts that have something to show, and of the others the reason."""
    found, absent = [], {}
    known_names = known("datasets")
    ours = tuple(sorted(name for name in {r["dataset"] for r in records} if config_of(name) in known_names))
    shown = [layout for layout in LAYOUTS if layout != DEFAULT_LAYOUT]  # which is the section on settings
    with progress_bar("Making tables", len(shown), "layout") as bar:
        for layout in shown:
            try:
                request = Request(ci=ci, datasets=ours if layout in WITHOUT_RECORDS else ())
                found.append((layout, build(layout, records, request)))
            except ValueError as error:
                absent[f"table {layout}"] = str(error)
            bar.update()
    return found, absent


def _figures(records: Sequence[dict], ci: str, of_runs: Sequence[list[dict]]) -> list[dict]:
    """Each figure as SVG in a data URI, the same text for the same figure; what cannot be drawn is left out."""
    figures: list[tuple[str, str, Figure]] = []
    for kind, draw in RECORD_KINDS.items():
        try:
            figures += [(kind, title, figure) for title, figure in draw(records, Wanted(ci)).items()]
        except ValueError as error:
            log.debug("no figure %s: %s", kind, error)
    for of_run in of_runs:
        figures += _figures_of_run(of_run)
    entries = []
    with progress_bar("Drawing figures", len(figures), "figure") as bar:
        for kind, title, figure in figures:
            data = "data:image/svg+xml;base64," + base64.b64encode(svg(figure)).decode()
            entries.append({"kind": kind, "title": ", ".join(title.splitlines()), "data": data})
            bar.update()
    return entries


def _figures_of_run(of_run: list[dict]) -> list[tuple[str, str, Figure]]:
    """The kind, title and figure of what can be drawn of a run; an error where that is nothing."""
    from simnl.results.plots.of_runs import RUN_KINDS  # imports PyTorch, which a report without them does not need

    figures, failed = [], dict[str, Exception]()
    for kind, draw in RUN_KINDS.items():
        try:
            figures += [(kind, title, figure) for title, figure in draw(of_run).items()]
        except (FileNotFoundError, ValueError) as error:  # not every run has scores of unknown classes, for example
            failed[kind] = error
    if len(failed) == len(RUN_KINDS):
        raise next(iter(failed.values()))
    for kind, why in failed.items():
        log.warning("%s: %s", kind, why)
    return figures


def _place(record: dict, output: Path) -> str:
    folder = Path(record["path"]).parent
    return str(folder.relative_to(output)) if folder.is_relative_to(output) else str(folder)


def _configs(records: Sequence[dict]) -> tuple[dict[str, str], list[dict]]:
    """What all configs have in common, and of each what sets it apart."""
    groups: dict[str, list[dict]] = {}
    for record in sorted(records, key=lambda record: [record[key] for key in ("dataset", "method", "shots")]):
        groups.setdefault(record["config_hash"], []).append(record)
    configs: list[dict[str, Any]] = []
    for name, runs in groups.items():
        stored = (stored_keys(Path(record["path"]).parent) for record in runs)  # a run may not have its config stored
        found = next(filter(None, stored), {})
        keys = {intern(key): intern(value) for key, value in found.items() if key not in NOT_OF_THE_CONFIG}
        configs.append({"hash": name, "record": runs[0], "runs": len(runs), "stored": bool(keys), "own": keys})
    known_items = [config["own"].items() for config in configs if config["stored"]]
    shared = set(known_items[0]).intersection(*known_items[1:]) if known_items else set()
    for config in configs:
        config["own"] = {key: value for key, value in config["own"].items() if (key, value) not in shared}
    return dict(sorted(shared)), configs


def _environments(records: Sequence[dict]) -> list[tuple[dict[str, str], int]]:
    """Versions and platforms, with the number of runs of each."""
    found: Counter[tuple] = Counter()
    for record in records:
        about = record.get("environment", {})
        flat = {key: value for key, value in about.items() if key != "packages"} | about.get("packages", {})
        found[tuple(sorted((key, str(value)) for key, value in flat.items()))] += 1
    return [(dict(versions), count) for versions, count in found.most_common()]
