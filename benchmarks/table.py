"""The few-shot table at its real sizes, through the command that a user types, on stand-ins of the data sets.

`python benchmarks/run.py table --datasets dtd --methods SimNL GDA --shots 1 16` measures a part of it. Seconds of a
method are those of its run records; the command's own, and its processor seconds, are in the last row.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, command, interleave
from benchmarks.search import GRID, direct_of
from benchmarks.stand_ins import fill, lay_out, write_weights
from benchmarks.training import step_of
from simnl.config_names import config_file
from simnl.locations import default_cache
from simnl.runs.config import assemble
from simnl.studies.choices import PAPER_DATASETS, default_methods

TITLE = "The few-shot table: all cells of a method on a data set"
WORK = ("train", "select", "test")  # phases of a record; what is left of its total is overhead
SHOTS = {"tiny": (1,), "fast": (1, 16), "full": (1, 2, 4, 8, 16)}
SEEDS = {"tiny": (1,), "fast": (1, 2, 3), "full": (1, 2, 3)}
DATASETS = {"tiny": ("eurosat",), "fast": ("dtd", "caltech101"), "full": PAPER_DATASETS}
METHODS = {"tiny": ("ZeroshotCLIP", "GDA")}
SHRINK = {"tiny": 50}  # of the numbers of images, for tests
WIDTH = 1024  # of ResNet-50's features


def run(size: str, datasets: Sequence[str] = (), methods: Sequence[str] = (), shots: Sequence[int] = ()) -> dict:
    """Rows for the table: of each data set one per method, and one of the whole command.

    Args:
        datasets, methods, shots: the part that is measured; empty: that of the size.
    """
    folder = Path(default_cache()) / "stand-ins" / size
    backbone, weights = ("tiny", Path("")) if size == "tiny" else ("rn50", folder / "rn50.safetensors")
    if size != "tiny":
        write_weights(weights)
    asked = methods or METHODS.get(size) or default_methods()
    counts, rows = tuple(shots or SHOTS[size]), []
    for name in datasets or DATASETS[size]:
        lay_out(folder / "data", name, SHRINK.get(size, 1))
        fill(folder, backbone, str(weights) if weights.name else "", name, asked, counts, SEEDS[size])
        rows += measured(folder, backbone, weights, name, asked, counts, SEEDS[size])
    return {"rows": rows}


def measured(folder: Path, backbone: str, weights: Path, name: str, methods, shots, seeds) -> list[dict]:
    """Run the command on one data set, from nothing but stored features; its rows."""
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    words = ["fewshot", "--datasets", name, "--methods", *methods, "--shots", *shots, "--seeds", *seeds]
    places = {"DATA": folder / "data", "CACHE": folder / "cache", "OUTPUT": output, "BACKBONE": backbone}
    settings = {key: str(value) for key, value in places.items()} | {"DEVICE": "cpu"}
    settings |= {"WEIGHTS": str(weights)} if weights.name else {}
    wall, usage = command([str(ROOT / "tools" / "benchmark.py"), *map(str, words)], folder / "command.log", settings)
    records = [json.loads(path.read_text()) for path in output.glob("**/result.json")]
    rows = [row(name, method, [r for r in records if r["method"] == method]) for method in methods]
    inside = sum(record["seconds"]["total"] for record in records)
    work = sum(record["seconds"][phase] for record in records for phase in WORK)
    whole = {
        "what": f"{name}: the whole command, {len(records)} cells",
        "seconds": {"fast": wall},
        "memory_beyond_inputs": {"fast": usage.ru_maxrss / 1024},
        "note": f"{usage.ru_utime + usage.ru_stime:.0f} s of processor time; {100 * (1 - work / wall):.0f} % overhead, "
        f"of which outside of the cells {wall - inside:.0f} s",
    }
    return [*rows, whole]


def row(name: str, method: str, records: list[dict]) -> dict:
    """Of a method on a data set: seconds of all its cells, what they went to, and the highest memory."""
    seconds = {phase: sum(r["seconds"][phase] for r in records) for phase in ("features", *WORK, "total")}
    overhead = 1 - sum(seconds[phase] for phase in WORK) / seconds["total"]
    entry = {
        "what": f"{name}: {method}, {len(records)} cell{'s' if len(records) > 1 else ''}",
        "seconds": {"fast": seconds["total"]},
        "memory_beyond_inputs": {"fast": max(r["peak_memory_mb"]["host"] for r in records)},
        "note": f"overhead {100 * overhead:.0f} %; "
        + ", ".join(f"{phase} {seconds[phase]:.1f} s" for phase in ("features", *WORK)),
    }
    if method == "SimNL":
        entry["seconds"]["direct"] = sum(_direct(name, r["num_classes"], r["shots"], r["num_val"]) for r in records)
        entry["note"] += "; direct: a step and a point of the search were measured and multiplied"
    return entry


def _direct(name: str, classes: int, shots: int, val: int) -> float:
    """Seconds of SimNL's training and search by the direct form, extrapolated from one step and one point."""
    key = (name, classes, shots, val)
    if key not in _KNOWN:
        rows, batch = classes * shots, min(256, classes * shots)
        epochs = assemble([config_file("datasets", name), config_file("trainers", "SimNL")]).OPTIM.MAX_EPOCH
        step = step_of("direct", classes, shots, WIDTH, batch)
        point = direct_of(classes, shots, WIDTH, val)[0]
        times = interleave({"step": step, "point": point}, 1)
        _KNOWN[key] = times.median("step") * epochs * -(-rows // batch) + times.median("point") * GRID.size
    return _KNOWN[key]


_KNOWN: dict[tuple, float] = {}
