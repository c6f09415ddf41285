"""Tables, figures and the report of 100,000 runs: seconds and memory of the commands that read them.

The records are copies of a real one, which differ in method, data set, shots, seed, backbone, options and accuracy.
`python benchmarks/many_records.py FOLDER NUMBER` writes such a folder and nothing else.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import ROOT, command
from simnl.config_names import known
from simnl.locations import default_cache
from simnl.results.tables.common import ELEVEN
from simnl.runs.record import FILE, read_record
from simnl.sealed import check_text, seal, seal_text
from simnl.studies.cells import Plan, Setup, Variant, plan_cells
from simnl.studies.executor import execute

TITLE = "Commands that read the records of many runs"
NUMBERS = {"tiny": (40,), "fast": (1000, 4000), "full": (25_000, 100_000)}
BACKBONES = ("rn50", "rn101", "vit_b32", "vit_b16", "vit_l14")
OPTIONS = ({}, {"OPTIM.LR": 0.01}, {"OPTIM.LR": 0.1})
SHOTS, SEEDS = (1, 2, 4, 8, 16), (1, 2, 3)
COMMANDS = {
    "table.py": ("tools/table.py", "{runs}", "--output", "{out}/runs.md"),
    "table.py --layout fewshot": ("tools/table.py", "{runs}", "--layout", "fewshot", "--output", "{out}/fewshot.md"),
    "plot.py fewshot": ("tools/plot.py", "fewshot", "{runs}", "--output", "{out}/curves.svg"),
    "report.py": ("tools/report.py", "{runs}", "--output", "{out}/report.html"),
}


def real_run(folder: Path) -> Path:
    """The folder of a run that is carried out there: a method without training, on `shapes`."""
    setup = Setup("data", str(folder), default_cache(), "tiny")
    (cell,) = plan_cells(setup, Plan("TipAdapter", "shapes", 1, Variant()), [1])
    execute(cell)
    return Path(cell.folder)


def copies(record: dict, number: int) -> Iterator[dict]:
    """So many records of runs that differ, like those of full tables: seeds change first, backbones last."""
    axes = (OPTIONS, BACKBONES, known("trainers"), ELEVEN, SHOTS, SEEDS)
    for options, backbone, method, dataset, shots, seed in itertools.islice(itertools.product(*axes), number):
        told = {"options": options, "backbone": backbone, "method": method, "dataset": dataset, "shots": shots}
        digest = hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()
        percent = 40 + int(digest[8:12], 16) / 2**16 * 50 + seed / 10
        yield {**record, **told, "seed": seed, "config_hash": digest[:8], "accuracy": percent}


def write_runs(folder: Path, number: int, run: Path) -> None:
    """Write folders of so many runs with a record and a config each, copied from the run in a folder."""
    record, config = read_record(run / FILE), (run / "config.yaml").read_text()
    check_text(config, run)
    body = config[: config.rstrip("\n").rindex("\n") + 1]  # without its check sum
    for one in copies(record, number):
        name = f"{one['backbone']}_{one['shots']}shots"
        configs = folder / one["dataset"] / one["method"] / name / one["config_hash"]
        place = configs / f"seed{one['seed']}"
        place.mkdir(parents=True)
        (place / FILE).write_text(json.dumps(seal(one), indent=2, sort_keys=True) + "\n")
        if one["seed"] == SEEDS[0]:
            changed = body.replace(f"CONFIG: {record['dataset']}", f"CONFIG: {one['dataset']}")
            (place / "config.yaml").write_text(seal_text(changed.replace("NUM_SHOTS: 1", f"NUM_SHOTS: {one['shots']}")))
        else:
            os.link(configs / f"seed{SEEDS[0]}" / "config.yaml", place / "config.yaml")


def run(size: str) -> dict:
    """Rows for the table: each command on each number of records."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run_folder = real_run(folder / "real")
        for number in NUMBERS[size]:
            runs = folder / str(number)
            write_runs(runs, number, run_folder)
            for name, words in COMMANDS.items():
                line = [word.format(runs=runs, out=folder) for word in words]
                wall, usage = command([str(ROOT / line[0]), *line[1:]], folder / "command.log")
                rows.append(
                    {
                        "what": f"{name}, {number:,} records",
                        "seconds": {"fast": wall},
                        "memory_beyond_inputs": {"fast": usage.ru_maxrss / 1024},
                        "note": f"{usage.ru_utime + usage.ru_stime:.3g} s of processor time; memory: the whole process",
                    }
                )
    return {"rows": rows}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as real:
        write_runs(Path(sys.argv[1]), int(sys.argv[2]), real_run(Path(real)))
