"""Synthetic features shaped like CLIP's: classes in groups, text and images in two cones, accuracies of 50 to 80 %."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import measure
from trainers.simnl import SimNLHead, SimNLOptions

OFFICIAL = {"negative_keys": "slot", "reweight_size": "shots", "consistency_axis": "channel"}


@dataclass(frozen=True)
class Problem:
    """Unit features of a few-shot problem: support (C*K, D) sorted by class, val (M, D) with labels (M,), and text
    classifiers template, cupl, negative (C, D)."""

    support: Tensor
    val: Tensor
    val_labels: Tensor
    template: Tensor
    cupl: Tensor
    negative: Tensor


def make_problem(classes: int, shots: int, width: int, val: int, seed: int = 0) -> Problem:
    """Draw a problem; cosines are about 0.6 between images, 0.9 between texts, 0.2 from image to text."""
    g = torch.Generator().manual_seed(seed)

    def unit(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, width, generator=g), dim=-1)

    groups = torch.randint(0, max(1, classes // 10), (classes,), generator=g)
    meaning = F.normalize(unit(max(1, classes // 10))[groups] + unit(classes), dim=-1)
    image_cone, text_cone = unit(1), unit(1)

    def images(labels: Tensor) -> Tensor:
        return F.normalize(image_cone + 0.45 * meaning[labels] + 0.75 * unit(len(labels)), dim=-1)

    def texts(sign: float) -> Tensor:
        return F.normalize(text_cone + 0.2 * image_cone + sign * 0.2 * meaning + 0.4 * unit(classes), dim=-1)

    rows = torch.arange(classes).repeat_interleave(shots)
    val_labels = torch.randint(0, classes, (val,), generator=g)
    made = images(rows), images(val_labels), val_labels, texts(1.0), texts(1.0), texts(-1.0)
    return Problem(*(tensor.to(measure.DEVICE) for tensor in made))


def make_head(problem: Problem, moved: float = 0.0, **options) -> SimNLHead:
    """SimNL on a problem. moved: length of random residuals, as if it had been trained."""
    classes = len(problem.template)
    shots = len(problem.support) // classes
    labels = torch.arange(classes, device=problem.support.device).repeat_interleave(shots)
    head = SimNLHead(
        template=problem.template, cupl=problem.cupl, negative=problem.negative, cache_keys=problem.support,
        labels=labels, classes=labels, logit_scale=100.0, num_shots=shots, options=SimNLOptions(**options),
        beta=1.0, alpha=1.0, lam=0.75,
    )  # fmt: skip
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += moved * F.normalize(torch.randn(parameter.shape, generator=g), dim=-1).to(parameter.device)
    return head
