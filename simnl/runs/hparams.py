"""The settings and the result of a run, for TensorBoard's HPARAMS view."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from yacs.config import CfgNode as CN

log = logging.getLogger(__name__)

FOLDER = "tensorboard"
TOLD = ("method", "dataset", "shots", "seed", "backbone", "preset", "protocol", "label_noise", "config_hash")


def settings_of(cfg: CN, record: Mapping) -> dict[str, str | float | bool]:
    """The settings that HPARAMS lists for a run: options, training settings, and the hyper-parameters that it chose."""
    settings = {key: record[key] for key in TOLD if key in record}
    if cfg.OPTIM.MAX_EPOCH and record.get("trainable_parameters"):
        settings |= {"lr": cfg.OPTIM.LR, "epochs": cfg.OPTIM.MAX_EPOCH}
    if record.get("best_epoch"):
        settings["best_epoch"] = record["best_epoch"]
    chosen = {**record.get("options", {}), **record.get("swept", {}), **record.get("hparams", {})}
    return settings | {key: _plain(value) for key, value in chosen.items()}


def _plain(value: object) -> str | float | bool:
    """A value that TensorBoard accepts; fractions are rounded to hide the noise of their last digits."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return value if isinstance(value, bool | int) else str(value)


def results_of(record: Mapping) -> dict[str, float]:
    """The scalars of a finished run, by tag."""
    results = {"result/accuracy": record["accuracy"], "result/seconds": record["seconds"]["total"]}
    return results | {f"result/accuracy_{name}": value for name, value in record.get("targets", {}).items()}


def write_hparams(cfg: CN, record: Mapping) -> None:
    """Add settings and results to the run's TensorBoard log. Without the package, this warns and goes on.

    No summary of the whole experiment is written: TensorBoard then joins the columns of all runs that it finds, so
    that methods with different hyper-parameters stand in one table.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams
    except ImportError as error:
        log.warning("Settings and results are not written for TensorBoard's HPARAMS view: %s", error)
        return
    results = results_of(record)
    _, start, end = hparams(settings_of(cfg, record), results)
    with SummaryWriter(log_dir=str(Path(cfg.OUTPUT_DIR) / FOLDER), filename_suffix=".hparams") as writer:
        writer.file_writer.add_summary(start)
        for tag, value in results.items():
            writer.add_scalar(tag, value, 0)
        writer.file_writer.add_summary(end)
