"""Tables from run records: the plain list, and the layouts of the paper with published figures beside ours."""

from experiment.tables.common import Request
from experiment.tables.find import find_records
from experiment.tables.layouts import DEFAULT_LAYOUT, LAYOUTS, WITHOUT_RECORDS, build, build_paired
from experiment.tables.paired import paired_tables
from experiment.tables.records import comparable, select, with_targets
from experiment.tables.render import FORMATS, WIDTH, render_tables
from experiment.tables.runs import render, summarise

__all__ = [
    "DEFAULT_LAYOUT", "FORMATS", "LAYOUTS", "WIDTH", "WITHOUT_RECORDS", "Request", "build", "build_paired",
    "comparable", "find_records", "paired_tables", "render", "render_tables", "select", "summarise", "with_targets",
]  # fmt: skip
