"""The wrong training labels of a run: which they are, and whether instance weights find them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from simnl.fewshot.cache import instance_weights
from simnl.metrics.detection import auroc
from simnl.sealed import write_sealed

FILE = "flips.json"


def record_flips(trainer) -> dict[str, Any] | None:
    """Write the wrong labels of a run beside its record; None where the run has no label noise.

    flips.json holds `rule`, `share` and `flips`: [path below the image folder, given label, true label].

    Returns:
        For the record: `file`, `rule`, `count` of wrong labels, `sha256` of the list of all training images with both
        labels, and `auroc`: the probability that SimNL's instance weight (tau 1) of a right label is larger than that
        of a wrong one; None where all are right or wrong, or where features change in training.
    """
    cfg, dataset = trainer.cfg, trainer.dm.dataset
    if not cfg.DATASET.LABEL_NOISE or trainer.support is None:
        return None
    root = Path(dataset.image_root)
    rows = sorted(
        (
            [Path(item.impath).relative_to(root).as_posix(), item.label, true]
            for item, true in zip(dataset.train_x, dataset.clean_labels, strict=True)
        ),
        key=lambda row: row[1],  # in the order of the support's rows, which are stable, too
    )
    wrong = [given != true for _, given, true in rows]
    about = {"rule": cfg.DATASET.NOISE_RULE, "share": cfg.DATASET.LABEL_NOISE}
    write_sealed(
        Path(trainer.output_dir) / FILE, {**about, "flips": [row for row, bad in zip(rows, wrong, strict=True) if bad]}
    )
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    found = _detection(trainer, torch.tensor(wrong))
    return {"file": FILE, "rule": cfg.DATASET.NOISE_RULE, "count": sum(wrong), "sha256": digest, "auroc": found}


def _detection(trainer, wrong: torch.Tensor) -> float | None:
    by_label = trainer.cfg.DATASET.GROUP_BY == "label"
    if wrong.all() or not wrong.any() or not trainer.image_encoder_frozen or not by_label:
        return None
    task = trainer.task
    weights = instance_weights(task.cache_keys(), task.support_labels, task.num_classes, 1.0, None).cpu()
    return auroc(weights[~wrong].numpy(), weights[wrong].numpy())
