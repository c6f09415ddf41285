"""SimNL with many classes: no tensor of an evaluation, a search or the fusion grows with images times keys."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks.step_memory import Alive
from benchmarks.synthetic import make_head, make_problem
from simnl.fewshot.search import Grid, count_grid
from simnl.fewshot.selection import predict
from simnl.fewshot.two_sides import set_weight_by_support

CLASSES, SHOTS, WIDTH, IMAGES = 60, 4, 16, 400
GRID = Grid({"beta": [0.5, 2.0], "alpha": [0.0, 1.0, 3.0], "lam": [0.6, 0.8]})
MOST = 2**14  # numbers of a temporary tensor; images times keys are 96,000, keys times keys 57,600
LIMITS = ("simnl.fewshot.head.SCORED_NUMBERS", "simnl.fewshot.two_sides.NUMBERS", "simnl.fewshot.search.CHUNK_ELEMENTS")


def results() -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """What each part gives, and the numbers of the largest tensor that it made."""
    problem = make_problem(CLASSES, SHOTS, WIDTH, IMAGES)
    head, fused = make_head(problem, 0.1), make_head(problem)
    labels = torch.arange(CLASSES).repeat_interleave(SHOTS)
    task = SimpleNamespace(cache_keys=lambda: problem.support, support_labels=labels, num_classes=CLASSES)
    batch = {"img": problem.val, "label": problem.val_labels}
    parts = {
        "test": lambda: predict(head, [batch], torch.device("cpu"))[0],
        "search": lambda: count_grid(head, problem.val, problem.val_labels, GRID),
        "fusion": lambda: set_weight_by_support(fused, task),
    }
    found, largest = {}, {}
    for name, part in parts.items():
        with Alive([]) as alive:
            found[name] = part()
        largest[name] = alive.largest // 4
    return {**found, "fusion": torch.tensor(fused.hparams["lam"])}, largest


def test_the_largest_tensor_is_bounded_and_results_are_those_of_all_at_once(monkeypatch):
    whole, before = results()
    for limit in LIMITS:
        monkeypatch.setattr(limit, MOST)
    parts, largest = results()
    assert before["test"] >= IMAGES * CLASSES * SHOTS
    assert before["fusion"] >= (CLASSES * SHOTS) ** 2
    assert largest["test"] <= max(MOST, IMAGES * CLASSES)  # the second are the logits themselves
    assert largest["search"] <= MOST
    assert largest["fusion"] <= MOST
    assert torch.equal(parts["test"], whole["test"])
    assert torch.equal(parts["search"], whole["search"])
    assert parts["fusion"].item() == pytest.approx(whole["fusion"].item(), rel=1e-5)
