"""The part of docs/audit.md that is made from `audit.csv` and `sources.csv`."""

from __future__ import annotations

from collections.abc import Sequence

from simnl.results.published import read
from simnl.results.published.audit import MARKS, Finding, findings

START, END = "<!-- made from the audit's files: begin -->", "<!-- made from the audit's files: end -->"
GITHUB = "https://github.com"
COLUMNS = (
    "method", "scope", "epoch", "hyper-parameters", "settings", "chosen on", "draws", "seeds", "marks", "how sure",
)  # fmt: skip


def refreshed(page: str) -> str:
    """A page with the part between `START` and `END` made anew.

    Raises:
        ValueError: the page lacks one of the two lines.
    """
    head, start, rest = page.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise ValueError(f"docs/audit.md needs the lines '{START}' and '{END}', between which its tables belong.")
    return f"{head}{START}\n\n{tables()}\n\n{END}{tail}"


def tables() -> str:
    """The marks, the findings, the evidence of each, and the sources, as markdown."""
    parts = ["## What the marks mean", _table(("mark", "meaning"), [(f"`{k}`", v) for k, v in MARKS.items()])]
    parts += ["## What the released code does", _table(COLUMNS, [_row(f) for f in findings()])]
    parts += ["## Evidence and notes", *(_details(f) for f in findings())]
    rows = [(f"[{r['source']}]({r['address']})", f"`{r['key']}`", r["others"], r["protocol"]) for r in read("sources")]
    parts += ["## Sources of figures", _table(("source", "`--published`", "rows of others", "how"), rows)]
    return "\n\n".join(parts)


def _row(finding: Finding) -> tuple[str, ...]:
    marks = " ".join(f"`{letter}`" for letter in finding.marks)
    return (
        _name(finding), finding.scope, finding.epoch_selection, finding.hparam_selection, finding.num_settings,
        finding.selection_images, finding.draws_detail, finding.seeds, marks, finding.confidence,
    )  # fmt: skip


def _name(finding: Finding) -> str:
    return f"{finding.method} ({finding.variant})" if finding.variant else finding.method


def _details(finding: Finding) -> str:
    links = ", ".join(link(finding, place.strip()) for place in finding.evidence.split(";"))
    value = f"The code reports: {finding.reported_value}."
    return f"**{_name(finding)}, {finding.scope}.** {finding.note} {value} Evidence: {links}."


def link(finding: Finding, place: str) -> str:
    """A markdown link to lines of a repository at the commit that was read. place: see `EVIDENCE`."""
    elsewhere, _, here = place.rpartition(" ")
    repository, _, commit = elsewhere.partition("@")
    path, _, lines = here.partition(":")
    first, _, last = lines.partition("-")
    anchor = f"#L{first}-L{last}" if last else f"#L{first}"
    where = f"{repository or finding.repository}/blob/{commit or finding.commit}"
    return f"[{here}]({GITHUB}/{where}/{path}{anchor})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
