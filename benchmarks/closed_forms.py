"""What is computed once per run: negative keys, instance weights, text classifiers; against gathers class by class."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks import direct, measure
from benchmarks.measure import interleave
from benchmarks.synthetic import make_problem
from simnl.clip.text import class_weights
from simnl.fewshot.cache import instance_weights, slot_negative_keys, slot_sums

TITLE = "Closed forms"
SIZES = {"tiny": (4, 2, 8, 3, 2), "fast": (1000, 16, 1024, 10, 5), "full": (1000, 16, 1024, 30, 50)}


def run(size: str) -> dict:
    """Rows for the table. The gathers of negative keys are measured on some classes: each costs the same."""
    classes, shots, width, prompts, some = SIZES[size]
    keys = make_problem(classes, shots, width, 1).support
    device = measure.DEVICE
    labels = torch.arange(classes, device=device).repeat_interleave(shots)
    texts = torch.randn(classes * prompts, width, generator=torch.Generator().manual_seed(0)).to(device)
    texts = F.normalize(texts, dim=-1)
    owners = torch.arange(classes, device=device).repeat_interleave(prompts)
    rounds = {"tiny": (1, 0), "fast": (5, 4), "full": (15, 15)}[size]
    gathers = interleave(
        {
            "direct": lambda: direct.negative_keys(keys, classes, range(some)),
            "keys": lambda: slot_negative_keys(keys, classes, shots),
            "products": lambda: slot_sums(keys, shots),
        },
        *rounds,
    )
    note = f"direct: {some} of {classes} classes measured"
    weights = interleave(
        {
            "direct": lambda: direct.instance_weights(keys, classes, 1.0),
            "fast": lambda: instance_weights(keys, labels, classes, 1.0),
        },
        *rounds,
    )
    text = interleave(
        {
            "direct": lambda: direct.text_classifier(texts, owners, classes),
            "fast": lambda: class_weights(texts, owners, classes, "normalize-mean-normalize"),
        },
        *rounds,
    )
    size_text = f"C = {classes}, K = {shots}"
    return {
        "rows": [
            {
                "what": f"negative keys, {size_text}: their products only, as training needs them",
                **gathers.compared(fast="products", factor=classes / some),
                "note": note,
            },
            {
                "what": f"negative keys, {size_text}: the keys themselves",
                **gathers.compared(fast="keys", factor=classes / some),
                "note": note,
            },
            {"what": f"instance weights, {size_text}", **weights.compared()},
            {"what": f"text classifier, C = {classes}, {prompts} prompts per class", **text.compared()},
        ]
    }
