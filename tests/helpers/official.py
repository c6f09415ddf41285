"""The authors' training loop and search of Tip-Adapter's family, for heads under parity test."""

from __future__ import annotations

import pytest
import torch

from helpers.golden import Golden
from simnl.fewshot.search import Grid, choose, count_grid
from simnl.fewshot.selection import accuracy


def train(golden: Golden, head: torch.nn.Module, lr: float, eps: float, weight_decay: float):
    """AdamW with a cosine per step on the recorded batches; yields the step number and its loss, after the update."""
    labels = golden.inputs[f"labels_K{golden.shots}"].long()
    batches = list(golden.batches(labels, golden.meta["batch_size"]))
    optim = torch.optim.AdamW(head.parameters(), lr=lr, eps=eps, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, len(batches))
    for step, (features, target) in enumerate(batches, 1):
        loss = sum(head.losses(features, target).values())
        optim.zero_grad()
        loss.backward()
        optim.step()
        schedule.step()
        yield step, loss.item()


def one_image(labels: torch.Tensor) -> float:
    """The accuracy of one image, in percent."""
    return 100 / len(labels) + 1e-4


def check_choice(head, grid: Grid, features, labels, best: list[float], best_accuracy: float) -> None:
    """Ours and the authors' search choose the same setting, or equally good ones; the head gets the authors'."""
    counts = count_grid(head, features, labels, grid)
    chosen = choose(counts, grid, head.hparams, "first")
    assert counts.max().item() * 100 / len(labels) == pytest.approx(best_accuracy, abs=one_image(labels))
    head.hparams.update(zip(grid.axes, best, strict=True))
    if list(chosen.values()) != pytest.approx(best):
        assert accuracy(head, features, labels) == pytest.approx(counts.max().item() * 100 / len(labels), abs=1e-3)
