"""SimNL's training step, B = 256, D = 1024, K = 16, against the formula as it is written."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.direct import DirectSimNL
from benchmarks.measure import ceilings, flops, hot_operators, interleave, memory_of
from benchmarks.synthetic import OFFICIAL, make_head, make_problem

TITLE = "Training step of SimNL"
SIZES = {"tiny": [(4, 2, 8, 6)], "fast": [(100, 16, 1024, 256), (1000, 16, 1024, 256)]}
SIZES["full"] = SIZES["fast"]
ROUNDS = {"tiny": (1, 0), "fast": (5, 8), "full": (15, 30)}  # at least, seconds
CASES = {
    "fast": "C = {}, slot-wise negative keys",
    "kept": "C = {}, the same on views seen before, whose products with the keys were kept",
}


def step_of(which: str, classes: int, shots: int, width: int, batch: int, options: dict | None = None) -> Callable:
    """A training step: losses, gradients, AdamW. which: `direct`, `fast`, or `kept`: its products are known."""
    problem = make_problem(classes, shots, width, batch)
    head = make_head(problem, **(OFFICIAL if options is None else options))
    model = DirectSimNL(head) if which == "direct" else head
    groups = [{"params": p, "lr": 1e-4 * factor} for factor, p in head.parameter_groups()]
    optimiser = torch.optim.AdamW(groups, eps=1e-3, weight_decay=0.1, fused=which != "direct")
    known = {"products": head.products(problem.val)} if which == "kept" else {}

    def step():
        losses = model.losses(problem.val, problem.val_labels, **known)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()

    step.parameters = list(head.parameters())
    return step


def run(size: str) -> dict:
    """Rows for the table, and a profile of the largest size."""
    rows, ceiling = [], ceilings()["products_gflops"] * 1e9
    for shape in SIZES[size]:
        names = dict(zip(("classes", "shots", "width", "batch"), shape, strict=True))
        steps = {which: step_of(which, **names) for which in ("direct", *CASES)}
        counts = {which: flops(step) for which, step in steps.items()}
        times = interleave(steps, *ROUNDS[size])
        memory = {which: memory_of(step_of, which=which, **names) for which in steps}
        for which, what in CASES.items():
            row = {"what": what.format(shape[0]), **times.compared(fast=which)}
            pair = {"direct": "direct", "fast": which}
            row["flops"] = {side: counts[name] for side, name in pair.items()}
            row["memory"] = {side: memory[name]["peak"] for side, name in pair.items()}
            beyond = {name: m["peak"] - m["inputs"] for name, m in memory.items()}
            row["memory_beyond_inputs"] = {side: beyond[name] for side, name in pair.items()}
            row["difference"] = difference(steps["direct"], steps[which])
            row["note"] = f"{100 * counts[which] / times.median(which) / ceiling:.0f} % of the machine's product rate"
            rows.append(row)
    return {"rows": rows, "profile": hot_operators(steps["fast"])}


def difference(one: Callable, other: Callable) -> float:
    """Largest difference between the parameters of two steps that were taken equally often."""
    return max((a - b).abs().max().item() for a, b in zip(one.parameters, other.parameters, strict=True))
