"""Load a finished run from its folder: its trainer with the trained head, without training again."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dassl.engine import build_trainer
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
        split, clip = trainer.dm.dataset.split_hash, trainer.clip
        others = f"on another split of {record['dataset']} than the one here"
        _check_same(record, "split_hash", split, others, "Put that split back, point DATA at the data of the run")
        others = f"with other weights of {clip.arch} than those here ({clip.weights})"
        _check_same(record, "weights_fingerprint", clip.fingerprint, others, "Put the weights of the run back")
        trainer.load_model(str(folder))
    trainer.head.eval()
    return trainer


def _check_same(record: Mapping[str, Any], key: str, here: str, others: str, put_back: str) -> None:
    """Raise ValueError if what a key of a record tells apart is not what is here.

    Args:
        record: the record of the run, with its `path`. Nothing is compared if it lacks the key.
        key, here: the key, and the value that it would have here.
        others: what the run had other than here, for the message.
        put_back: what to do about it.
    """
    known = record.get(key)
    if known and known != here:
        raise ValueError(
            f"{Path(record['path']).parent} is a run {others}: the run has {key} {known[:12]}, and here it is "
            f"{here[:12]}. Its head would be tested on something else. {put_back}, or run its command again."
        )
