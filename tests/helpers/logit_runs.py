"""Records of synthetic runs with their logits beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from helpers.table_records import record
from simnl.runs.logits import Keeper, write_logits
from simnl.runs.record import FILE, write_record

CLASSES = 5


def drawn(seed: int, images: int, sharpness: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (images, 5) and labels that follow from their softmax; the logits are then made sharper."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(images, CLASSES))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = [rng.choice(CLASSES, p=row) for row in p]
    return torch.tensor(sharpness * logits, dtype=torch.float32), torch.tensor(labels)


def make_run(folder: Path, parts: dict[str, tuple[torch.Tensor, torch.Tensor]], **changes) -> dict:
    """Write the record and the logits of a run, whose accuracy is that of the part `test`; the record with its path."""
    logits, labels = parts["test"]
    one = record(accuracy=100.0 * (logits.argmax(1) == labels).double().mean().item(), **changes)
    keeper = Keeper(CLASSES, 100)
    for name, (rows, truth) in parts.items():
        kept = keeper.collector(len(rows))
        kept.add(rows)
        keeper.keep(name, kept, truth)
    folder.mkdir(parents=True, exist_ok=True)
    one["logits"] = write_logits(folder, keeper, one, [f"class {c}" for c in range(CLASSES)], 17.0)
    write_record(folder, one)
    return {**one, "path": str(folder / FILE)}
