"""No file and no function is longer than one reads at once, but for the few that are named here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from simnl.locations import ROOT

FILE, FUNCTION = 300, 40  # lines; of a function those beside its docstring
# What is excused, with a limit of its own. An excuse that is not needed any more fails, too: take it out.
LONG_FILES = {
    "simnl/data/base.py": 350,  # the base class of every data set, which is read from top to bottom
}
LONG_FUNCTIONS = {"simnl/runs/config.py:plugin_defaults": 65}  # one line per config key

FOLDERS = ("simnl", "trainers", "datasets", "tools")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a file by `file:name`, with its lines from `def` on, without the docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            has_docstring = ast.get_docstring(node, clean=False) is not None
            docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
            yield f"{name_of(path)}:{node.name}", node.end_lineno - node.lineno + 1 - docstring


def too_long(lengths: dict[str, int], limit: int, excused: dict[str, int]) -> list[str]:
    """What is longer than its limit, and which excuses are not needed."""
    long = [f"{name} has {n} lines" for name, n in lengths.items() if n > excused.get(name, limit)]
    return long + [f"{name} needs no excuse" for name in excused if lengths.get(name, 0) <= limit]


def test_files():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert lengths
    assert too_long(lengths, FILE, LONG_FILES) == []


def test_functions():
    lengths: dict[str, int] = {}
    for path in FILES:
        for name, length in functions(path):
            lengths[name] = max(length, lengths.get(name, 0))  # two methods of one name: the longer
    assert lengths
    assert too_long(lengths, FUNCTION, LONG_FUNCTIONS) == []


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ({"a.py": 40, "b.py": 41, "c.py": 50}, ["b.py has 41 lines"]),
        ({"a.py": 1, "c.py": 51}, ["c.py has 51 lines"]),
        ({"c.py": 40}, ["c.py needs no excuse"]),
        ({}, ["c.py needs no excuse"]),
    ],
)
def test_the_check_itself(lengths, said):
    assert too_long(lengths, 40, {"c.py": 50}) == said
