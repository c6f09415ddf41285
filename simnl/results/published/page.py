"""The part of docs/audit.md that is made from `audit.csv` and `sources.csv`, by `audit.md.j2`."""

from __future__ import annotations

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from simnl.results.published import FOLDER, read
from simnl.results.published.audit import MARKS, Finding, findings

START, END = "<!-- made from the audit's files: begin -->", "<!-- made from the audit's files: end -->"
GITHUB = "https://github.com"


def refreshed(page: str) -> str:
    """A page with the part between `START` and `END` made anew.

    Raises:
        ValueError: the page lacks one of the two lines.
    """
    head, start, rest = page.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise ValueError(f"docs/audit.md needs the lines '{START}' and '{END}', between which its tables belong.")
    loader = FileSystemLoader(FOLDER)
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(cell=lambda text: text.replace("|", r"\|"), link=link)
    tables = environment.get_template("audit.md.j2").render(marks=MARKS, findings=findings(), sources=read("sources"))
    return f"{head}{START}\n\n{tables}\n{END}{tail}"


def link(place: str, finding: Finding) -> str:
    """A markdown link to lines of a repository at the commit that was read.

    Args:
        place: a file of the finding's repository, or `owner/name@commit file` of another one, and its lines.
        finding: the finding whose evidence it is.
    """
    elsewhere, _, here = place.strip().rpartition(" ")
    repository, _, commit = elsewhere.partition("@")
    path, _, lines = here.partition(":")
    first, _, last = lines.partition("-")
    anchor = f"#L{first}-L{last}" if last else f"#L{first}"
    where = f"{repository or finding.repository}/blob/{commit or finding.commit}"
    return f"[{here}]({GITHUB}/{where}/{path}{anchor})"
