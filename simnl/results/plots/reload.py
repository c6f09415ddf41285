"""A finished run brought back from its folder: the trained head with its data, nothing trained again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simnl.results.plots.series import describe_setting
from simnl.results.tables.common import shots_title
from simnl.runs.reload import reload_trainer


@dataclass(frozen=True)
class Run:
    """What a run left, and what its head says of the M test images.

    Attributes:
        record: the run record.
        trainer: the trainer, with the head loaded.
        features: raw test features (M, D); empty for a method that changes the image tower.
        logits: (M, C); labels: (M,).
    """

    record: dict
    trainer: Any  # a VLTrainer
    features: Tensor
    logits: Tensor
    labels: Tensor

    @property
    def classnames(self) -> list[str]:
        """C names."""
        return [self.trainer.lab2cname[label] for label in range(self.trainer.num_classes)]


def one_run(records: Sequence[dict], kind: str) -> dict:
    """The only record.

    Raises:
        ValueError: there are several; the message lists some folders.
    """
    if len(records) > 1:
        folders = "\n".join(f"  {Path(r['path']).parent}" for r in records[:5])
        raise ValueError(
            f"{kind} shows one run, and there are {len(records)}. Name a run's folder, e.g. one of\n{folders}"
        )
    return records[0]


def title_of_run(record: dict, what: str, *more: str) -> str:
    """The title of a figure of one run: the run and what is said of it, its setting, and more lines."""
    where = f"{record['method']} on {record['dataset']}, {shots_title(record['shots'])}, seed {record['seed']}: {what}"
    return "\n".join(filter(None, (where, describe_setting(record), *more)))


def reload(record: dict) -> Run:
    """Load the head of a run and apply it to the test images; their features come from the store.

    Raises:
        FileNotFoundError, ValueError: see `reload_trainer`.
    """
    trainer = reload_trainer(record)
    features, logits, labels = [], [], []
    with torch.no_grad():
        for batch in trainer.test_loader:
            inputs, truth = trainer.parse_batch_test(batch)
            logits.append(trainer.model_inference(inputs).float().cpu())
            labels.append(truth.cpu())
            if trainer.image_encoder_frozen:
                features.append(inputs.float().cpu())
    rows = torch.cat(features) if features else torch.empty(0, 0)
    return Run(record, trainer, rows, torch.cat(logits), torch.cat(labels))
