"""Help and wrong arguments answer at once: they import nothing that takes long. Modules are counted, not seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from helpers.e2e_tools import REPO

HEAVY = (
    "torch",
    "torchvision",
    "open_clip",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "PIL",
    "yacs",
    "dassl",
    "jinja2",
)
# Their help names what plugins hold, or is seldom read.
LATER = {"plot.py", "train_tiny_clip.py", "methods.py", "ood.py"}
TOOLS = sorted(p.name for p in (REPO / "tools").glob("*.py") if p.name not in LATER | {"_path.py"})
PROGRAM = """
import json, runpy, sys
sys.path.insert(0, "tools")
found = {}
for words in json.loads(sys.argv[1]):
    sys.argv = [f"tools/{words[0]}", *words[1:]]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit:
        pass
    loaded = [name for name in json.loads(HEAVY) if name in sys.modules]
    if loaded:
        found[" ".join(words)] = loaded
        break
print(json.dumps(found), file=sys.stderr)
"""


def imported_by(commands: list[list[str]]) -> dict[str, list[str]]:
    """The first command that imports something heavy, with what it imports."""
    program = f"HEAVY = {json.dumps(json.dumps(HEAVY))}\n{PROGRAM}"
    words = [sys.executable, "-c", program, json.dumps(commands)]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=120)
    return json.loads(done.stderr.splitlines()[-1])


def test_help_imports_nothing_heavy():
    assert len(TOOLS) > 9
    assert not imported_by([[name, "--help"] for name in TOOLS])


@pytest.mark.parametrize(
    "words",
    [
        ["train.py", "--trainer", "SimNL"],  # no data set
        ["train.py", "--nonsense"],
        ["benchmark.py", "few-shot"],
        ["benchmark.py", "fewshot", "--jobs", "many"],
        ["run.py", "SimNL"],
        ["run.py", "SimNL", "shapez", "16"],
        ["table.py", "output", "--layout", "nonsense"],
        ["report.py"],
        ["bundle.py", "--rerun", "3"],
        ["import_runs.py"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_import_nothing_heavy(words):
    assert not imported_by([words])
