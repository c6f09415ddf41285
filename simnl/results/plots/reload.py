"""A finished run brought back from its folder: the trained head with its data, nothing trained again."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dassl.engine import build_trainer
from simnl.runs.stored import read_config


@dataclass(frozen=True)
class Run:
    """What a run left, and what its head says of the M test images.

    Attributes:
        record: the run record.
        trainer: with the head loaded.
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


def reload(record: dict) -> Run:
    """Load the head of a run and apply it to the test images; their features come from the store.

    DATA and CACHE in the environment replace the folders that the run had.

    Raises:
        FileNotFoundError: the run left no config or no head.
        ValueError: they do not fit this program, or the data set has another split than the run had.
    """
    folder = Path(record["path"]).parent
    moved = {"DATASET.ROOT": os.environ.get("DATA"), "STORE.ROOT": os.environ.get("CACHE")}
    settings = {key: value for key, value in moved.items() if value}
    cfg = read_config(folder, {**settings, "VERBOSE": False, "RESUME": ""})
    with contextlib.redirect_stdout(io.StringIO()):  # the engine's log lines
        trainer = build_trainer(cfg)
        _check_split(record, trainer.dm.dataset, folder)
        trainer.load_model(str(folder))
    trainer.head.eval()
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


def _check_split(record: dict, dataset, folder: Path) -> None:
    """ValueError where the images or labels are others than those the run was trained and tested on."""
    known = record.get("split_hash")
    if known and known != dataset.split_hash:
        raise ValueError(
            f"{folder} is a run on another split of {record['dataset']} than the data here has (split_hash "
            f"{known[:12]}, here {dataset.split_hash[:12]}), so its head would meet other images. Put that split back, "
            "point DATA at the data of the run, or run its command again."
        )
