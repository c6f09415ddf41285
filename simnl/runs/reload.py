"""A finished run brought back from its folder: its trainer with the trained head, nothing trained again."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dassl.engine import build_trainer
from simnl.runs.stored_config import read_config


def reload_trainer(record: Mapping[str, Any], settings: Mapping[str, Any] | None = None):
    """The trainer of a run, a `VLTrainer`, with the head that was trained, for evaluation.

    DATA and CACHE in the environment replace the folders that the run had.

    Args:
        record: the record of the run, with its `path`.
        settings: dotted config keys to change, none of which may change figures.

    Raises:
        FileNotFoundError: the run left no config or no head.
        ValueError: they do not fit this program, or the data set has another split than the run had.
    """
    folder = Path(record["path"]).parent
    moved = {"DATASET.ROOT": os.environ.get("DATA"), "STORE.ROOT": os.environ.get("CACHE")}
    moved = {key: value for key, value in moved.items() if value}
    cfg = read_config(folder, {**moved, "VERBOSE": False, "RESUME": "", **(settings or {})})
    with contextlib.redirect_stdout(io.StringIO()):  # the engine's log lines
        trainer = build_trainer(cfg)
        _check_split(record, trainer.dm.dataset, folder)
        trainer.load_model(str(folder))
    trainer.head.eval()
    return trainer


def _check_split(record: Mapping[str, Any], dataset, folder: Path) -> None:
    """ValueError where the images or labels are others than those the run was trained and tested on."""
    known = record.get("split_hash")
    if known and known != dataset.split_hash:
        raise ValueError(
            f"{folder} is a run on another split of {record['dataset']} than the data here has (split_hash "
            f"{known[:12]}, here {dataset.split_hash[:12]}), so its head would meet other images. Put that split back, "
            "point DATA at the data of the run, or run its command again."
        )
