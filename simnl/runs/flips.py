"""The wrong training labels of a run: which images have them, and how well scores find them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.fewshot.cache import instance_weights
from simnl.metrics.detection import auroc
from simnl.sealed import write_sealed

FILE = "flips.json"


def record_flips(trainer) -> dict[str, Any] | None:
    """Write the wrong labels of a run to a file beside its record; None if the run has no label noise.

    flips.json holds `rule`, `share` and `flips`: [path below the image folder, given label, true label].

    Returns:
        The entries of the record: `file`, `rule`, `count` of wrong labels, number of training `images`, `selection`
        (clean or noisy), `sha256` of the list of all training images with both labels, and the figures of `found`.
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
        key=lambda row: row[1],  # a stable sort, so that the order is that of the support's rows
    )
    wrong = [given != true for _, given, true in rows]
    about = {"rule": cfg.DATASET.NOISE_RULE, "share": cfg.DATASET.LABEL_NOISE}
    write_sealed(
        Path(trainer.output_dir) / FILE, {**about, "flips": [row for row, bad in zip(rows, wrong, strict=True) if bad]}
    )
    return {
        "file": FILE,
        "rule": cfg.DATASET.NOISE_RULE,
        "count": sum(wrong),
        "images": len(rows),
        "selection": "noisy" if cfg.DATASET.NOISY_SELECTION else "clean",
        "sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        **found(trainer, torch.tensor(wrong)),
    }


def found(trainer, wrong: Tensor) -> dict[str, float | None]:
    """How well scores of the training images find the wrong labels.

    Each figure is an AUROC: the probability that, of a right and a wrong label, the right one has the better score. It
    is None if all labels are right or all are wrong, if features change in training, or if the method has no such
    score.

        auroc       SimNL's instance weights (tau 1) of the cache keys; right labels should have larger ones
        auroc_loss  the trained head's cross-entropy of a key under its given label; it should be smaller
        auroc_sides f.m_y - f.v_y of a head with a positive and a negative text; it should be larger

    `wrong` is (N,) bool, in the order of the support's rows.
    """
    names = ("auroc", "auroc_loss", "auroc_sides")
    by_label = trainer.cfg.DATASET.GROUP_BY == "label"
    if wrong.all() or not wrong.any() or not trainer.image_encoder_frozen or not by_label:
        return dict.fromkeys(names)
    scores = {name: score.cpu() for name, score in _scores(trainer).items()}
    return {
        name: auroc(scores[name][~wrong].numpy(), scores[name][wrong].numpy()) if name in scores else None
        for name in names
    }


@torch.no_grad()
def _scores(trainer) -> dict[str, Tensor]:
    """Scores (N,) by name, which are larger for labels that look right."""
    task, head = trainer.task, trainer.head.eval()
    keys, labels = task.cache_keys(), task.support_labels
    scores = {
        "auroc": instance_weights(keys, labels, task.num_classes, 1.0, None),
        "auroc_loss": -F.cross_entropy(head(keys), labels, reduction="none"),
    }
    if sides := head.sides(keys):
        scores["auroc_sides"] = (sides["asserted"] - sides["denied"]).gather(1, labels[:, None]).squeeze(1)
    return scores
