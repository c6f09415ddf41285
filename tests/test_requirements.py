"""Every package that is installed has a line in the README that says why, and no other has one."""

from __future__ import annotations

import re

from simnl.locations import ROOT


def required() -> set[str]:
    """The names in both files of requirements; `-e ./toolbox` is dassl, `-e .` this program."""
    lines = [line for path in ROOT.glob("requirements*.txt") for line in path.read_text().splitlines()]
    names = {match[0] for line in lines if (match := re.match(r"[A-Za-z0-9_-]+", line)) and not line.startswith("-")}
    return names | {"dassl"}


def explained() -> set[str]:
    """The first column of the README's table."""
    text = (ROOT / "README.md").read_text()
    table = text[text.index("| package | why |") :].split("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {name.strip() for cell in cells for name in re.sub(r"\(.*?\)", "", cell).split(",")}


def test_the_readme_says_why():
    assert explained() == required()
