"""SimNL at 10,000 classes: seconds and memory of a training step, an evaluation, the search, and fusion by support."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch

from benchmarks import measure
from benchmarks.measure import memory_of
from benchmarks.memory import evaluation_of
from benchmarks.search import search_of
from benchmarks.synthetic import make_head, make_problem
from benchmarks.training import step_of
from simnl.fewshot.search import Grid, axis
from simnl.fewshot.two_sides import set_weight_by_support

TITLE = "SimNL with many classes, width 64"
WIDTH = 64
SIZES = {
    "tiny": {"classes": 12, "test": 40, "val": 20},
    "fast": {"classes": 2000, "test": 8192, "val": 512},
    "full": {"classes": 10000, "test": 8192, "val": 2000},
}
SHOTS = (1, 4)
AXES = {"beta": axis(0, 7, 2), "alpha": axis(0, 7, 40), "lam": axis(0.6, 1, 20)}
BATCH = 256


def fusion_of(classes: int, shots: int, width: int) -> Callable:
    """lambda by the support images (TRAINER.SIMNL.FUSION support)."""
    problem = make_problem(classes, shots, width, 1)
    labels = torch.arange(classes, device=measure.DEVICE).repeat_interleave(shots)
    task = SimpleNamespace(cache_keys=lambda: problem.support, support_labels=labels, num_classes=classes)
    head = make_head(problem)
    return lambda: set_weight_by_support(head, task)


def run(size: str) -> dict:
    """Rows for the table: what each case needs, in a process of its own."""
    shape = SIZES[size]
    classes, rows, settings = shape["classes"], [], Grid(AXES).size
    for shots in SHOTS:
        cases = {
            f"training step, B = {BATCH}": (step_of, {"which": "fast", "batch": BATCH, "options": {}}),
            f"test of {shape['test']:,} images": (evaluation_of, {"test": shape["test"]}),
            f"search, {shape['val']:,} images, {settings:,} settings": (search_of, {"val": shape["val"], "axes": AXES}),
            **({"lambda by the support images": (fusion_of, {})} if shots > 1 else {}),
        }
        for what, (function, more) in cases.items():
            used = memory_of(function, classes=classes, shots=shots, width=WIDTH, **more)
            rows.append(
                {
                    "what": f"C = {classes:,}, {shots} shot{'s' * (shots > 1)}: {what}",
                    "seconds": {"fast": used["seconds"]},
                    "memory_beyond_inputs": {"fast": used["peak"] - used["inputs"]},
                }
            )
    return {"rows": rows}
