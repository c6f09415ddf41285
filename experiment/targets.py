"""Data sets on which a trained head is tested besides its own: shifted versions, and classes not seen in training."""

from __future__ import annotations

import yaml
from yacs.config import CfgNode as CN

from dassl.data.datasets import build_dataset
from experiment.capabilities import refusal
from experiment.cli import check_name
from experiment.config import CONFIGS

NEW_CLASSES = "new"  # the target that stands for the classes that SUBSAMPLE_CLASSES base leaves out


def build_targets(cfg: CN) -> dict:
    """The data sets of TEST.TARGETS by name; what is missing or makes no sense is told before anything is trained.

    Raises:
        ValueError: an unknown name, or new classes for a method or run that has none.
        FileNotFoundError: a data set is not there.
    """
    return {name: build_dataset(_target(cfg, name)) for name in cfg.TEST.TARGETS}


def _target(cfg: CN, name: str) -> CN:
    target = cfg.clone()
    target.defrost()
    if name != NEW_CLASSES:
        body = yaml.safe_load((CONFIGS / "datasets" / f"{check_name('datasets', name)}.yaml").read_text())
        target.DATASET.NAME = body["DATASET"]["NAME"]
        return target
    if cfg.DATASET.SUBSAMPLE_CLASSES != "base":
        raise ValueError(
            f"The target '{NEW_CLASSES}' needs a run on the other half of the classes: set DATASET.SUBSAMPLE_CLASSES "
            f"to base (it is {cfg.DATASET.SUBSAMPLE_CLASSES})."
        )
    reason = refusal(cfg.TRAINER.NAME, task="base2new")
    if reason:
        raise ValueError(f"{cfg.TRAINER.NAME} on new classes: {reason}.")
    target.DATASET.SUBSAMPLE_CLASSES = "new"
    return target


def test_on(trainer, name: str, dataset) -> float:
    """Accuracy in percent of a trained head on a target; nothing is learned or selected on it.

    On a shifted data set the logits of all classes are computed and the target's columns kept
    (`dataset.class_indices`), so nothing depends on the target. For new classes, what was learned is put into a head
    that is built from their names.

    Raises:
        ValueError: a shifted data set has other classes.
    """
    if name == NEW_CLASSES:
        return trainer.evaluate(dataset.test, head=trainer.head_for(dataset))
    if dataset.class_indices is None and dataset.num_classes != trainer.num_classes:
        raise ValueError(
            f"{name} has {dataset.num_classes} classes, the head {trainer.num_classes}: it is no shifted version of "
            "the data that the head was trained on."
        )
    return trainer.evaluate(dataset.test, columns=dataset.class_indices)
