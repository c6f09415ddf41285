"""Data sets on which a trained head is also tested: shifted versions, and classes that training did not see.

`simnl.runs.target_configs` says what a name in TEST.TARGETS stands for.
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
    """The data sets of TEST.TARGETS by name. They are built, and checked, before anything is trained.

    Raises:
        ValueError: a name is unknown, a run on a part of the classes has other data as a target, or a method or run
            that has no new classes has them as a target.
        FileNotFoundError: a data set is missing.
    """
    return {name: build_dataset(target_config(cfg, name)) for name in cfg.TEST.TARGETS}


def checked_targets(cfg: CN) -> dict:
    """The targets of `build_targets`, after a comparison of each with the data of the run. No image is encoded.

    Raises:
        ValueError, FileNotFoundError: see `build_targets` and `check_targets`.
    """
    targets = build_targets(cfg)
    if set(targets) - {NEW_CLASSES}:
        check_targets(build_dataset(cfg), targets)
    return targets


def check_targets(source, targets: dict) -> None:
    """Check that the labels of shifted data sets among `targets` are columns of a head for the classes of `source`, and
    that `cross:` targets have other classes.

    Raises:
        ValueError: a shifted data set has more or fewer classes, or most of its classes have other names. Also if a
            `cross:` target has the classes of the source.
    """
    for name, dataset in targets.items():
        if name == NEW_CLASSES:
            continue
        reason = _misfit(source, dataset)
        if name.startswith(CROSS) and not reason:
            raise ValueError(
                f"The target {name} has the classes of the data of the run, so they are not new to the head. Leave out "
                f"'{CROSS}' to test on it as a shifted version of these data."
            )
        if reason and not name.startswith(CROSS):
            raise ValueError(
                f"The target {name} is not a shifted version of the data of the run: {reason}. Use {CROSS}{name} to "
                "test on it as a data set of other classes."
            )


def _misfit(source, dataset) -> str:
    columns = dataset.class_indices
    if columns is None:
        columns = range(dataset.num_classes)
        if dataset.num_classes != source.num_classes:
            return f"it has {dataset.num_classes} classes, and the head {source.num_classes}"
    elif max(columns) >= source.num_classes:
        return f"its classes go up to number {max(columns) + 1}, and those of the head to {source.num_classes}"
    names = [(source.lab2cname[column], dataset.lab2cname[label]) for label, column in enumerate(columns)]
    other = [f"{ours} / {theirs}" for ours, theirs in names if ours != theirs]
    if 2 * len(other) > len(names):
        return f"{len(other)} of {len(names)} classes have other names ({some(other)})"
    return ""


def test_on_all(trainer, names: Mapping[str, str], keeper: Keeper, targets: Mapping[str, Any]) -> dict[str, float]:
    """Accuracies in percent on targets, by their names in records; see `test_on`.

    Args:
        names: the result of `named_targets`.
        keeper: gets the logits, under the names in records.
        targets: the result of `build_targets`.
    """
    return {key: test_on(trainer, name, targets[name], keeper, key) for key, name in names.items()}


def test_on(trainer, name: str, dataset, keeper: Keeper, key: str) -> float:
    """Accuracy in percent of a trained head on a target; nothing is learned or selected on it.

    On a shifted data set, which `check_targets` has accepted, the logits of all classes are computed and the columns of
    the target's classes are used (`dataset.class_indices`), so nothing depends on the target. For new classes, a head
    is built from their names and gets what was learned. `keeper` gets the logits, under the target's `key`.

    Raises:
        NotFinite: logits are NaN or infinite, so an accuracy would mean nothing.
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
    """A head with what was learned for the classes of another data set, or the fallback of TEST.NEW_CLASSES.

    Args:
        cfg: the config with that data set and its prompts; see `target_config`.
    """
    classnames = tuple(dataset.lab2cname[label] for label in range(dataset.num_classes))
    task = trainer.build_task(dataset, classnames, None, cfg)
    head = head_for_new_classes(trainer, task, trainer.cfg.TEST.NEW_CLASSES)
    return head.to(trainer.device).eval()
