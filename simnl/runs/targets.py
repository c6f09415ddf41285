"""Data sets on which a trained head is also tested: shifted versions, and classes that training did not see.

What a name in TEST.TARGETS stands for is in `simnl.runs.target_configs`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from yacs.config import CfgNode as CN

from dassl.data.datasets import build_dataset
from simnl.data.listing import some
from simnl.fewshot.capabilities import CROSS, NEW_CLASSES, is_on_new_classes
from simnl.fewshot.head import Head
from simnl.fewshot.new_classes import head_for_new_classes
from simnl.fewshot.selection import percent_right, predict
from simnl.runs.logits import TARGET, Keeper
from simnl.runs.target_configs import target_config
from simnl.runs.text_distance import text_factors

log = logging.getLogger(__name__)


def build_targets(cfg: CN) -> dict:
    """The data sets of TEST.TARGETS by name. What is missing or makes no sense is told before anything is trained.

    Raises:
        ValueError: a name is unknown, a run on a part of the classes asks for other data, or a method or run that has
            no new classes asks for them.
        FileNotFoundError: a data set is not there.
    """
    return {name: build_dataset(target_config(cfg, name)) for name in cfg.TEST.TARGETS}


def checked_targets(cfg: CN) -> dict:
    """The targets of `build_targets`, each of which is compared with the data of the run before anything is encoded.

    Raises:
        ValueError, FileNotFoundError: see `build_targets` and `check_targets`.
    """
    targets = build_targets(cfg)
    if set(targets) - {NEW_CLASSES}:
        check_targets(build_dataset(cfg), targets)
    return targets


def check_targets(source, targets: dict) -> None:
    """Check that labels of the shifted data sets among `targets` are columns of a head for the classes of `source`,
    and that the classes of `cross:` ones are others.

    Raises:
        ValueError: a shifted data set has more or fewer classes, or most of them have other names; or one that should
            have other classes has these.
    """
    for name, dataset in targets.items():
        if name == NEW_CLASSES:
            continue
        reason = _misfit(source, dataset)
        if name.startswith(CROSS) and not reason:
            raise ValueError(
                f"The target {name} has the classes of the data that the run is on, so they are not new to the head. "
                f"Without '{CROSS}' it is a shifted version of that data."
            )
        if reason and not name.startswith(CROSS):
            raise ValueError(
                f"The target {name} is no shifted version of the data that the run is on: {reason}. As a data set of "
                f"other classes it is {CROSS}{name}."
            )


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


def test_on_all(trainer, names: Mapping[str, str], keeper: Keeper, targets: Mapping[str, Any]) -> dict[str, float]:
    """Accuracies in percent on targets, by their names in records; see `test_on`.

    Args:
        names: the result of `named_targets`.
        keeper: takes the logits, under the names in records.
        targets: the result of `build_targets`.
    """
    return {key: test_on(trainer, name, targets[name], keeper, key) for key, name in names.items()}


def test_on(trainer, name: str, dataset, keeper: Keeper, key: str) -> float:
    """Accuracy in percent of a trained head on a target; nothing is learned or selected on it.

    On a shifted data set, which `check_targets` has found to fit, the logits of all classes are computed and the
    target's columns kept (`dataset.class_indices`), so nothing depends on the target. For new classes, what was learned
    is put into a head that is built from their names. `keeper` takes the logits, under the target's `key`.

    Raises:
        NotFinite: logits are NaN or infinite, so that an accuracy would mean nothing.
    """
    head, columns, factors = trainer.head.on_shifted(), dataset.class_indices, None
    if is_on_new_classes(name):
        cfg = target_config(trainer.cfg, name)
        head, columns = head_for(trainer, dataset, cfg), None
        factors = text_factors(trainer, head, dataset, cfg)
    kept = keeper.collector(len(dataset.test), dataset.num_classes)
    with trainer.stopwatch.phase("targets"):
        batches, method = trainer.seen_by_head(trainer.inputs.stream(dataset.test)), type(trainer).__name__
        predicted, labels = predict(head, batches, trainer.device, columns, method, transduce=True, keep=kept.add)
    keeper.keep(f"{TARGET}{key}", kept, labels, factors)
    accuracy = percent_right(predicted, labels)
    log.info("Accuracy on the target %s: %.2f %%", name, accuracy)
    if trainer.cfg.TEST.PER_CLASS_RESULT:
        for label, classname in sorted(dataset.lab2cname.items()):
            mine = labels == label
            if mine.any():
                log.info("  %s (%s): %.2f %%", classname, label, percent_right(predicted[mine], labels[mine]))
    return accuracy


def head_for(trainer, dataset, cfg: CN) -> Head:
    """What was learned, in a head for the classes of another data set, or what stands in for it (TEST.NEW_CLASSES).

    Args:
        cfg: the config of that data set, with its prompts; see `target_config`.
    """
    classnames = tuple(dataset.lab2cname[label] for label in range(dataset.num_classes))
    task = trainer.build_task(dataset, classnames, None, cfg)
    head = head_for_new_classes(trainer, task, trainer.cfg.TEST.NEW_CLASSES)
    return head.to(trainer.device).eval()
