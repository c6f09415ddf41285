"""Memory of a whole run at ImageNet's size: 16 shots, C = 1000, N = 16,000, D = 1024, 20 views, 50,000 test images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks import measure
from benchmarks.measure import memory_of
from benchmarks.synthetic import OFFICIAL, make_head, make_problem
from simnl.fewshot.loaders import LabelledFeatures, StreamLoader, SupportLoader, ViewProducts
from simnl.fewshot.search import Grid, axis, count_grid
from simnl.fewshot.selection import accuracy_over

TITLE = "Memory of a run at ImageNet's size, 16 shots, width 1024"
SIZES = {
    "tiny": {"classes": 4, "shots": 2, "width": 8, "views": 2, "val": 8, "test": 50},
    "fast": {"classes": 1000, "shots": 16, "width": 1024, "views": 20, "val": 4000, "test": 50000},
}
SIZES["full"] = SIZES["fast"]
STEPS = 3  # of training; memory does not grow after the second
CHUNK = 4096  # test images in memory at once, as the store reads them


def test_stream(number: int, width: int) -> Iterator[torch.Tensor]:
    """Random test features, (1, n, D) at a time, as `FeatureStore.stream` gives them."""
    for start in range(0, number, CHUNK):
        yield torch.randn(1, min(CHUNK, number - start), width)


def evaluation_of(classes: int, shots: int, width: int, test: int) -> Callable:
    """The streamed test, as a function."""
    head = make_head(make_problem(classes, shots, width, 1))
    loader = StreamLoader(lambda: test_stream(test, width), torch.zeros(test, dtype=torch.int64))
    return lambda: accuracy_over(head, loader, measure.DEVICE)


def run_of(classes: int, shots: int, width: int, views: int, val: int, test: int) -> Callable:
    """Training on the views of all support images, selection, search, test; as a function that makes all of it."""

    def case():
        problem = make_problem(classes, shots, width, val)
        head = make_head(problem, **OFFICIAL)
        device = measure.DEVICE
        features = problem.support.expand(views, -1, -1) + torch.randn(views, 1, width, device=device) / width
        labels = torch.arange(classes, device=device).repeat_interleave(shots)
        optimiser = torch.optim.AdamW(head.parameters(), lr=1e-4, fused=True)
        loader = SupportLoader(features, labels, 256, 1, False, "cycle")
        for _, batch in zip(range(STEPS), loader, strict=False):
            optimiser.zero_grad()
            torch.stack(list(head.losses(batch["img"], batch["label"]).values())).sum().backward()
            optimiser.step()
        images = LabelledFeatures(problem.val, problem.val_labels)
        images.kept = ViewProducts(head.products, head.num_products, problem.val[None])
        accuracy_over(head, images, device)
        grid = Grid({"beta": axis(0, 7, 2), "alpha": axis(0, 7, 40), "lam": axis(0.6, 1, 20)})
        count_grid(head, problem.val, problem.val_labels, grid)
        accuracy_over(
            head, StreamLoader(lambda: test_stream(test, width), torch.zeros(test, dtype=torch.int64)), device
        )

    return case


def run(size: str) -> dict:
    """Rows for the table."""
    shape = SIZES[size]
    whole = memory_of(run_of, **shape)
    few = {name: shape[name] for name in ("classes", "shots", "width")}
    tests = {number: memory_of(evaluation_of, **few, test=number) for number in (shape["test"] // 5, shape["test"])}
    features = shape["views"] * shape["classes"] * shape["shots"] * shape["width"] * 4 / 2**20
    rows = [
        {
            "what": f"training, selection, search and test, slot-wise negative keys, {shape['views']} views",
            "memory_beyond_inputs": {"fast": whole["peak"] - whole["inputs"]},
            "note": f"process: {whole['peak']:,.0f} MB; {features:,.0f} MB of it are the features trained on",
        }
    ]
    for number, memory in tests.items():
        rows.append(
            {
                "what": f"test of {number:,} images alone",
                "memory_beyond_inputs": {"fast": memory["peak"] - memory["inputs"]},
            }
        )
    return {"rows": rows}
