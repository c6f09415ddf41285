"""What the tests of cache methods are given: random classifiers, keys, labels and queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F

LABELS = {"equal": [0, 0, 1, 1, 2, 2, 3, 3], "unequal": [0, 1, 1, 1, 3], "noisy": [2, 0, 3, 0, 1, 2, 2, 1]}


def support(labels: list[int], classes: int = 4, width: int = 6) -> dict:
    """Arguments of a cache head: random unit classifier and keys, float64."""
    g = torch.Generator().manual_seed(0)
    text, keys = (F.normalize(torch.randn(n, width, generator=g).double(), dim=-1) for n in (classes, len(labels)))
    return {"text": text, "cache_keys": keys, "labels": torch.tensor(labels), "logit_scale": 10.0}


def queries(rows: int = 5, width: int = 6) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1)).double()
