"""Help and wrong arguments answer at once: they import nothing that takes long; tables and finished runs not what takes
longest. Modules are counted, not seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from helpers.e2e_tools import REPO
from helpers.table_records import record, write
from simnl import declarations
from simnl.runs.record import write_record
from simnl.studies.cells import Plan, Setup, plan_cells

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
HEAVIEST = tuple(name for name in HEAVY if name not in ("numpy", "PIL", "yacs", "dassl")) + ("safetensors", "pandas")
LATER = {"train_tiny_clip.py", "_path.py"}  # one is for developers and made of PyTorch; the other is no command
TOOLS = sorted(p.name for p in (REPO / "tools").glob("*.py") if p.name not in LATER)
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
    loaded = [name for name in json.loads(NAMES) if name in sys.modules]
    if loaded:
        found[" ".join(words)] = loaded
        break
print(json.dumps(found), file=sys.stderr)
"""


def imported_by(commands: list[list[str]], names: tuple[str, ...] = HEAVY) -> dict[str, list[str]]:
    """The first command that imports something heavy, with what it imports."""
    return json.loads(ran(commands, names).stderr.splitlines()[-1])


def ran(commands: list[list[str]], names: tuple[str, ...]) -> subprocess.CompletedProcess:
    """A process of its own in which commands ran one after the other."""
    program = f"NAMES = {json.dumps(json.dumps(names))}\n{PROGRAM}"
    words = [sys.executable, "-c", program, json.dumps(commands)]
    return subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=120, check=False)


def test_help_imports_nothing_heavy():
    assert len(TOOLS) > 15
    assert not imported_by([[name, "--help"] for name in TOOLS])


def test_wrong_arguments_import_nothing_heavy():
    wrong = (
        "train.py --trainer SimNL",  # no data set
        "train.py --nonsense",
        "benchmark.py few-shot",
        "benchmark.py fewshot --jobs many",
        "run.py SimNL",
        "run.py SimNL shapez 16",
        "table.py output --layout nonsense",
        "report.py",
        "plot.py few-shot output",
        "plot.py fewshot output --output curves.gif",
        "ood.py",
        "ood.py SimNL shapez 16",
        "bundle.py --rerun 3",
        "import_runs.py",
    )
    assert not imported_by([words.split() for words in wrong])


@pytest.fixture
def remembered(tmp_path, monkeypatch):
    """A cache in which it stands what methods declare, as after any first command; used by what runs from here on."""
    monkeypatch.setenv("CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    declarations._of_this_program.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr("simnl.plugins.methods_are_loaded", lambda: False)
        declarations.declared()
    declarations._of_this_program.cache_clear()
    return tmp_path / "output"


def test_a_finished_run_and_tables_import_no_torch(remembered, monkeypatch):
    for name, value in {"BACKBONE": "tiny", "SEEDS": "1"}.items():
        monkeypatch.setenv(name, value)
    (cell,) = plan_cells(Setup.from_environment(os.environ, cuda=False), Plan("SimNL", "shapes", 1), [1])
    same = {"dataset": "shapes", "backbone": "tiny", "shots": 1, "config_hash": cell.identity.config_hash}
    write_record(cell.folder, record(**same))
    base = {**same, "subsample_classes": "base", "config_hash": "2"}
    write(remembered, [record(**base, method="CoOp", targets={"new": 40.0}), record(**base, method="SimNL")])
    tables = [["table.py", str(remembered), "--layout", name] for name in ("runs", "fewshot", "base2new", "datasets")]
    done = ran([["run.py", "SimNL", "shapes", "1"], *tables], HEAVIEST)
    assert "seed 1: done before, skipped" in done.stdout
    assert "n/a (SimNL): what it learns belongs to the classes of training" in done.stdout  # a reason was asked for
    assert json.loads(done.stderr.splitlines()[-1]) == {}
    figure = ["plot.py", "cost", str(remembered), "--output", str(remembered / "cost.svg")]
    drawn = ran([figure], ("torch", "open_clip", "sklearn"))
    assert (remembered / "cost.svg").is_file(), drawn.stderr
    assert json.loads(drawn.stderr.splitlines()[-1]) == {}
