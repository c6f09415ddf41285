"""Data sets on which a trained head is also tested: shifted versions, and classes that training did not see."""

from __future__ import annotations

import logging
from typing import Any

from yacs.config import CfgNode as CN

from dassl.data.datasets import build_dataset
from simnl.config_names import check_name, config_file
from simnl.data.listing import some
from simnl.fewshot.head import Head
from simnl.fewshot.selection import percent_right, predict
from simnl.runs.capabilities import refusal
from simnl.runs.logits import TARGET, Keeper
from simnl.runs.record import NEW_CLASSES
from simnl.runs.yaml_files import read_yaml

log = logging.getLogger(__name__)


def build_targets(cfg: CN) -> dict:
    """The data sets of TEST.TARGETS by name. What is missing or makes no sense is told before anything is trained.

    Raises:
        ValueError: a name is unknown, a run on a part of the classes asks for shifted data, or a method or run that has
            no new classes asks for them.
        FileNotFoundError: a data set is not there.
    """
    return {name: build_dataset(_target(cfg, name)) for name in cfg.TEST.TARGETS}


def checked_targets(cfg: CN) -> dict:
    """As `build_targets`; each of them is also compared with the data of the run, before anything is encoded.

    Raises:
        ValueError, FileNotFoundError: see `build_targets` and `check_targets`.
    """
    targets = build_targets(cfg)
    if set(targets) - {NEW_CLASSES}:
        check_targets(build_dataset(cfg), targets)
    return targets


def _target(cfg: CN, name: str) -> CN:
    target = cfg.clone()
    target.defrost()
    if name == NEW_CLASSES:
        _check_new_classes(cfg)
        target.DATASET.SUBSAMPLE_CLASSES = "new"
        return target
    if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
        raise ValueError(
            f"The target {name} has all classes, and the run only some (DATASET.SUBSAMPLE_CLASSES is "
            f"{cfg.DATASET.SUBSAMPLE_CLASSES}): set it to all, or leave {name} out of the targets."
        )
    body: Any = read_yaml(config_file("datasets", check_name("datasets", name)))
    target.DATASET.NAME = body["DATASET"]["NAME"]
    if target.DATASET.SPLIT_FILE:  # the source's; names are then given for the classes of that file
        target.DATASET.SPLIT_FILE = target.DATASET.CLASSNAMES_FILE = ""
    return target


def _check_new_classes(cfg: CN) -> None:
    if cfg.DATASET.SUBSAMPLE_CLASSES != "base":
        raise ValueError(
            f"The target '{NEW_CLASSES}' needs a run on the other half of the classes: set DATASET.SUBSAMPLE_CLASSES "
            f"to base (it is {cfg.DATASET.SUBSAMPLE_CLASSES})."
        )
    reason = refusal(cfg.TRAINER.NAME, task="base2new")
    if reason:
        raise ValueError(f"{cfg.TRAINER.NAME} on new classes: {reason}.")


def check_targets(source, targets: dict) -> None:
    """Check that labels of the shifted data sets among `targets` are columns of a head for the classes of `source`.

    Raises:
        ValueError: there are more or fewer classes, or most of them have other names.
    """
    for name, dataset in targets.items():
        reason = "" if name == NEW_CLASSES else _misfit(source, dataset)
        if reason:
            raise ValueError(f"The target {name} is no shifted version of the data that the run is on: {reason}.")


def _misfit(source, dataset) -> str:
    columns = dataset.class_indices
    if columns is None:
        columns = range(dataset.num_classes)
        if dataset.num_classes != source.num_classes:
            return f"it has {dataset.num_classes} classes, the head {source.num_classes}"
    elif max(columns) >= source.num_classes:
        return f"its classes go up to number {max(columns) + 1}, the head's to {source.num_classes}"
    names = [(source.lab2cname[column], dataset.lab2cname[label]) for label, column in enumerate(columns)]
    other = [f"{ours} / {theirs}" for ours, theirs in names if ours != theirs]
    if 2 * len(other) > len(names):
        return f"{len(other)} of {len(names)} classes have other names ({some(other)})"
    return ""


def test_on(trainer, name: str, dataset, keeper: Keeper) -> float:
    """Accuracy in percent of a trained head on a target; nothing is learned or selected on it.

    On a shifted data set, which `check_targets` has found to fit, the logits of all classes are computed and the
    target's columns kept (`dataset.class_indices`), so nothing depends on the target. For new classes, what was learned
    is put into a head that is built from their names. `keeper` takes the logits.

    Raises:
        NotFinite: logits are NaN or infinite, so that an accuracy would mean nothing.
    """
    head, columns = trainer.head, dataset.class_indices
    if name == NEW_CLASSES:
        head, columns = head_for(trainer, dataset), None
    kept = keeper.collector(len(dataset.test), dataset.num_classes)
    with trainer.stopwatch.phase("targets"):
        batches, method = trainer.seen_by_head(trainer.inputs.stream(dataset.test)), type(trainer).__name__
        predicted, labels = predict(head, batches, trainer.device, columns, method, transduce=True, keep=kept.add)
    keeper.keep(f"{TARGET}{name}", kept, labels)
    accuracy = percent_right(predicted, labels)
    log.info("Accuracy on the target %s: %.2f %%", name, accuracy)
    if trainer.cfg.TEST.PER_CLASS_RESULT:
        for label, classname in sorted(dataset.lab2cname.items()):
            mine = labels == label
            if mine.any():
                log.info("  %s (%s): %.2f %%", classname, label, percent_right(predicted[mine], labels[mine]))
    return accuracy


def head_for(trainer, dataset) -> Head:
    """What was learned, in a head for the classes of another data set; for methods that are `base_to_new`."""
    classnames = tuple(dataset.lab2cname[label] for label in range(dataset.num_classes))
    task = trainer.build_task(dataset, classnames, None)
    head = trainer.build_head(task, trainer.node).to(trainer.device).eval()
    head.adopt(trainer.head)
    return head
