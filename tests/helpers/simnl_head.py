"""A head of SimNL of random tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from trainers.simnl import SimNLHead, SimNLOptions


def make_head(classes: int = 5, shots: int = 3, width: int = 8, **options) -> SimNLHead:
    generator = torch.Generator().manual_seed(0)

    def unit(rows):
        return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=-1)

    labels = torch.arange(classes).repeat_interleave(shots)
    head = SimNLHead(
        template=unit(classes), cupl=unit(classes), negative=unit(classes), cache_keys=unit(classes * shots),
        labels=labels, classes=labels, logit_scale=10.0, num_shots=shots, options=SimNLOptions(**options),
        beta=2.0, alpha=1.0, lam=0.75,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
    return head.double()
