"""Records of synthetic runs with their logits beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from helpers.table_records import record
from simnl.runs.detection import FILE as DETECTION
from simnl.runs.logits import Keeper, write_logits
from simnl.runs.record import FILE, write_record
from simnl.sealed import write_sealed

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


def add_logits(records: list[dict]) -> None:
    """Logits for records that are written already, whatever their accuracy says."""
    for one in records:
        keeper = Keeper(CLASSES, 100)
        for number, name in enumerate(("test", "selection")):
            rows, truth = drawn(number, 40)
            kept = keeper.collector(len(rows))
            kept.add(rows)
            keeper.keep(name, kept, truth)
        write_logits(Path(one["path"]).parent, keeper, one, [f"class {c}" for c in range(CLASSES)], 17.0)


SETS = {"new": "near", "plain_noise": "far", "dtd": "far"}  # of outliers, and how far


def add_detection(one: dict, outliers: dict[str, str] = SETS) -> None:
    """Figures of detection beside a record, on sets of outliers, each near or far."""
    figures = {"auroc": 0.8, "fpr95_id": 0.5, "fpr95_ood": 0.6, "aupr_in": 0.7, "aupr_out": 0.75}
    scores = dict.fromkeys(("msp", "maxlogit", "energy", "mcm@T1"), figures)
    sets = {
        name: {"images": 9, "digest": "", "distance": distance, "figures": scores, "ablation": {"1": 0.8, "0.5": 0.7}}
        for name, distance in outliers.items()
    }
    content = {
        "schema": 1, "identity": {key: one[key] for key in ("config_hash", "seed", "accuracy")}, "sets": sets,
        "detectors": {"chosen": "energy"}, "accuracy": one["accuracy"], "images": 40,
        "accuracy_by_share": {"1": 59.0, "0.5": 58.0},
    }  # fmt: skip
    write_sealed(Path(one["path"]).parent / DETECTION, content)
