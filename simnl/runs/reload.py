"""Load a finished run from its folder: its trainer with the trained head, without training again."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dassl.engine import build_trainer
from simnl.clip.model import FrozenCLIP
from simnl.plugins import load_plugins
from simnl.runs.stored_config import moved, read_config


def reload_trainer(record: Mapping[str, Any], settings: Mapping[str, Any] | None = None):
    """The trainer of a run (a `VLTrainer`) with its trained head, for evaluation.

    The environment variables DATA and CACHE replace the folders that the run had.

    Args:
        record: the record of the run, with its `path`.
        settings: dotted config keys to change. They must be keys that change no figure.

    Raises:
        FileNotFoundError: the run left no config or no head.
        ValueError: config or head do not fit this program, or the data set has another split, or the weights another
            fingerprint, than those of the run.
    """
    folder = Path(record["path"]).parent
    cfg = read_config(folder, {**moved(), "VERBOSE": False, "RESUME": "", **(settings or {})})
    with contextlib.redirect_stdout(io.StringIO()):  # the engine's log lines
        load_plugins()
        trainer = build_trainer(cfg)
        _check_split(record, trainer.dm.dataset, folder)
        _check_weights(record, trainer.clip, folder)
        trainer.load_model(str(folder))
    trainer.head.eval()
    return trainer


def _check_split(record: Mapping[str, Any], dataset, folder: Path) -> None:
    """Raise ValueError if the images or labels differ from those that the run was trained and tested on."""
    known = record.get("split_hash")
    if known and known != dataset.split_hash:
        raise ValueError(
            f"{folder} is a run on another split of {record['dataset']} than the one here: the run has split_hash "
            f"{known[:12]}, and the data here {dataset.split_hash[:12]}. Its head would be tested on other images. Put "
            "that split back, point DATA at the data of the run, or run its command again."
        )


def _check_weights(record: Mapping[str, Any], clip: FrozenCLIP, folder: Path) -> None:
    """Raise ValueError if the weights of the model are not those with which the run was trained and tested."""
    known = record.get("weights_fingerprint")
    if known and known != clip.fingerprint:
        raise ValueError(
            f"{folder} is a run with other weights of {clip.arch} than those here ({clip.weights}): the run has the "
            f"fingerprint {known[:12]}, and the weights here have {clip.fingerprint[:12]}. Its head would be tested on "
            "other features. Put the weights of the run back, or run its command again."
        )
