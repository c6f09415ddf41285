"""SimNL's training step, B = 256, D = 1024, K = 16, against the formula as it is written."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.direct import DirectSimNL
from benchmarks.measure import flops, hot_operators, interleave, memory_of
from benchmarks.synthetic import OFFICIAL, make_head, make_problem

TITLE = "Training step of SimNL"
SIZES = {"tiny": [(4, 2, 8, 6)], "fast": [(100, 16, 1024, 256), (1000, 16, 1024, 256)]}
SIZES["full"] = SIZES["fast"]
REPEATS = {"tiny": 1, "fast": 5, "full": 15}


def step_of(which: str, classes: int, shots: int, width: int, batch: int, options: dict | None = None) -> Callable:
    """A training step: losses, gradients, AdamW. which: `direct` or `fast`."""
    problem = make_problem(classes, shots, width, batch)
    head = make_head(problem, **(OFFICIAL if options is None else options))
    model = head if which == "fast" else DirectSimNL(head)
    groups = [{"params": p, "lr": 1e-4 * factor} for factor, p in head.parameter_groups()]
    optimiser = torch.optim.AdamW(groups, eps=1e-3, weight_decay=0.1, fused=which == "fast")

    def step():
        losses = model.losses(problem.val, problem.val_labels)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()

    step.parameters = list(head.parameters())
    return step


def run(size: str) -> dict:
    """Rows for the table, and a profile of the largest size."""
    rows = []
    for shape in SIZES[size]:
        names = dict(zip(("classes", "shots", "width", "batch"), shape, strict=True))
        steps = {which: step_of(which, **names) for which in ("direct", "fast")}
        counts = {which: flops(step) for which, step in steps.items()}
        times = interleave(steps, REPEATS[size])
        memory = {which: memory_of(step_of, which=which, **names) for which in steps}
        rows.append(
            {
                "what": f"C = {shape[0]}, slot-wise negative keys",
                "seconds": times,
                "flops": counts,
                "memory": {which: m["peak"] for which, m in memory.items()},
                "memory_beyond_inputs": {which: m["peak"] - m["inputs"] for which, m in memory.items()},
                "difference": difference(steps),
            }
        )
    return {"rows": rows, "profile": hot_operators(steps["fast"])}


def difference(steps: dict[str, Callable]) -> float:
    """Largest difference between the parameters of both after equally many steps."""
    pairs: zip[tuple[nn.Parameter, nn.Parameter]] = zip(*(step.parameters for step in steps.values()), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)
