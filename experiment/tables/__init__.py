"""Tables from run records: the plain list, and the layouts of the paper with published figures beside ours."""

from experiment.tables.common import Request
from experiment.tables.layouts import DEFAULT_LAYOUT, LAYOUTS, WITHOUT_RECORDS, build, standard_runs
from experiment.tables.paired import paired_tables
from experiment.tables.records import comparable, find_records, select, with_targets
from experiment.tables.render import FORMATS, WIDTH, render_tables
from experiment.tables.runs import render, summarise

__all__ = [
    "DEFAULT_LAYOUT", "FORMATS", "LAYOUTS", "WIDTH", "WITHOUT_RECORDS", "Request", "build", "comparable",
    "find_records", "paired_tables", "render", "render_tables", "select", "summarise", "with_targets",
    "standard_runs",
]  # fmt: skip
