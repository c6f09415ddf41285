"""Tables from run records: the plain list, and the layouts of the paper with published figures beside ours."""

from simnl.results.tables.common import Request
from simnl.results.tables.find import find_records
from simnl.results.tables.layouts import DEFAULT_LAYOUT, LAYOUTS, WITHOUT_RECORDS, build, build_paired
from simnl.results.tables.paired import paired_tables
from simnl.results.tables.records import comparable, select, with_targets
from simnl.results.tables.render import FORMATS, FULL, NARROWEST, render_tables, terminal_width
from simnl.results.tables.summary import runs_table, summarise

__all__ = [
    "DEFAULT_LAYOUT", "FORMATS", "FULL", "LAYOUTS", "NARROWEST", "WITHOUT_RECORDS", "Request", "build", "build_paired",
    "comparable", "find_records", "paired_tables", "render_tables", "runs_table", "select", "summarise",
    "terminal_width", "with_targets",
]  # fmt: skip
