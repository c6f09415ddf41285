"""Data sets on which a trained head is also tested: shifted versions, and classes that training did not see.

A target of TEST.TARGETS is one of three:

- `NAME`, a data set of the registry with the classes of the run: a shifted version of its data;
- `new`, the classes that a run on `DATASET.SUBSAMPLE_CLASSES base` leaves out;
- `cross:NAME`, a data set of the registry with other classes, or a folder of one's own images.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from yacs.config import CfgNode as CN

from dassl.data.datasets import DATASET_REGISTRY, build_dataset
from simnl.clip import prompts
from simnl.config_names import check_name, config_file, known
from simnl.data.listing import some
from simnl.data.own_images import folder_of
from simnl.fewshot.capabilities import CROSS, NEW_CLASSES, is_on_new_classes
from simnl.fewshot.head import Head
from simnl.fewshot.selection import percent_right, predict
from simnl.runs.capabilities import refusal
from simnl.runs.config import assemble
from simnl.runs.logits import TARGET, Keeper
from simnl.runs.record import OWN_IMAGES, own_images_name
from simnl.runs.yaml_files import read_yaml

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


def target_config(cfg: CN, name: str) -> CN:
    """The config of a run with the data of a target in the place of its own, and the prompts where it has other ones.

    Raises:
        ValueError: see `build_targets`.
    """
    target = cfg.clone()
    target.defrost()
    if is_on_new_classes(name) and (reason := refusal(cfg.TRAINER.NAME, task="base2new")):
        raise ValueError(f"{cfg.TRAINER.NAME} on new classes: {reason}.")
    if name == NEW_CLASSES:
        if cfg.DATASET.SUBSAMPLE_CLASSES != "base":
            raise ValueError(
                f"The target '{NEW_CLASSES}' needs a run on the other half of the classes: set "
                f"DATASET.SUBSAMPLE_CLASSES to base (it is {cfg.DATASET.SUBSAMPLE_CLASSES})."
            )
        target.DATASET.SUBSAMPLE_CLASSES = "new"
        return target
    if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
        raise ValueError(
            f"The target {name} has all classes, and the run only some (DATASET.SUBSAMPLE_CLASSES is "
            f"{cfg.DATASET.SUBSAMPLE_CLASSES}): set it to all, or leave {name} out of the targets."
        )
    if target.DATASET.SPLIT_FILE:  # the source's; names are then given for the classes of that file
        target.DATASET.SPLIT_FILE = target.DATASET.CLASSNAMES_FILE = ""
    if name.startswith(CROSS):
        return _with_other_classes(target, name.removeprefix(CROSS))
    body: Any = read_yaml(config_file("datasets", check_name("datasets", name)))
    target.DATASET.NAME = body["DATASET"]["NAME"]
    return target


def _with_other_classes(target: CN, name: str) -> CN:
    """The data and the prompts of a data set of the registry, or of a folder of one's own images.

    The prompts are those of the data set's own config, as the method has them there: the source's describe its classes.
    """
    target.DATASET.CLASSNAMES_FILE, target.DATASET.LABEL_NOISE = "", 0.0
    target.DATASET.FOLDER = "" if name in known("datasets") else name
    target.DATASET.CONFIG = config = check_other(target.DATASET.ROOT, name)
    same = ("PRESET", "TRAINER.NAME", "MODEL.BACKBONE.NAME", "MODEL.BACKBONE.ARCH", "DATASET.ROOT", "DATASET.CONFIG",
            "DATASET.FOLDER", "DATASET.NUM_SHOTS")  # fmt: skip
    files = [config_file("datasets", config), config_file("trainers", target.TRAINER.NAME)]
    own = assemble(files, settings={key: _value(target, key) for key in same})
    target.DATASET.NAME, target.PROMPTS = own.DATASET.NAME, own.PROMPTS
    target.DATASET.NUM_SHOTS = 1  # nothing is learned from it, so it may have fewer images than the source needs
    return target


def _value(cfg: CN, key: str) -> object:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def check_other(root: str, name: str) -> str:
    """The name of the config of a data set with other classes: its own, or that of a folder of one's own images.

    Raises:
        ValueError: the name is neither that of a data set nor of a folder, which may be absolute or below `root`.
    """
    if name in known("datasets") and name != OWN_IMAGES:
        return name
    folder = CN({"DATASET": {"ROOT": root, "FOLDER": name}})
    if name != OWN_IMAGES and folder_of(folder).is_dir():
        return OWN_IMAGES
    names = [known_name for known_name in known("datasets") if known_name != OWN_IMAGES]
    raise ValueError(
        f"'{name}' is neither a data set nor a folder of images ({folder_of(folder)}). Give a folder, absolute or "
        f"below {root}, or one of {', '.join(names)}."
    )


def named_targets(cfg: CN) -> dict[str, str]:
    """{name under which a record has the figure: name in TEST.TARGETS}.

    Both are the same, but for a folder of one's own images, which records tell by its last name and eight hex digits of
    what decides its labels, its test images and its prompts: `cross:imagefolder-mine@0a1b2c3d`.
    """
    return {_key(cfg, name): name for name in cfg.TEST.TARGETS}


def targets_of_record(cfg: CN, record: Mapping[str, Any]) -> dict[str, str]:
    """The result of `named_targets` for all targets of a run's record, those of earlier commands, too.

    A folder of images that the stored config of the run does not name any more is left out, and the log says so.
    """
    here, found = named_targets(cfg), {}
    for key in record.get("targets", {}):
        if key not in here and key.startswith(f"{CROSS}{OWN_IMAGES}-"):
            log.warning("The target %s of %s is left out: where it lies is not known.", key, record.get("path"))
        else:
            found[key] = here.get(key, key)
    return found


def _key(cfg: CN, name: str) -> str:
    if not name.startswith(CROSS) or name.removeprefix(CROSS) in known("datasets"):
        return name
    target = target_config(cfg, name)
    dataset = DATASET_REGISTRY.get(target.DATASET.NAME)
    content = dataset.identity(target) | prompts.identity(target, dataset.prompt_folders(target))
    content |= {key: list(target.PROMPTS[key]) for key in ("POSITIVE", "NEGATIVE")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"{CROSS}{own_images_name(folder_of(target))}@{digest}"


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
    head, columns = trainer.head, dataset.class_indices
    if is_on_new_classes(name):
        head, columns = head_for(trainer, dataset, target_config(trainer.cfg, name)), None
    kept = keeper.collector(len(dataset.test), dataset.num_classes)
    with trainer.stopwatch.phase("targets"):
        batches, method = trainer.seen_by_head(trainer.inputs.stream(dataset.test)), type(trainer).__name__
        predicted, labels = predict(head, batches, trainer.device, columns, method, transduce=True, keep=kept.add)
    keeper.keep(f"{TARGET}{key}", kept, labels)
    accuracy = percent_right(predicted, labels)
    log.info("Accuracy on the target %s: %.2f %%", name, accuracy)
    if trainer.cfg.TEST.PER_CLASS_RESULT:
        for label, classname in sorted(dataset.lab2cname.items()):
            mine = labels == label
            if mine.any():
                log.info("  %s (%s): %.2f %%", classname, label, percent_right(predicted[mine], labels[mine]))
    return accuracy


def head_for(trainer, dataset, cfg: CN) -> Head:
    """What was learned, in a head for the classes of another data set; for methods that are `base_to_new`.

    Args:
        cfg: the config of that data set, with its prompts; see `target_config`.
    """
    classnames = tuple(dataset.lab2cname[label] for label in range(dataset.num_classes))
    task = trainer.build_task(dataset, classnames, None, cfg)
    head = trainer.build_head(task, trainer.node).to(trainer.device).eval()
    head.adopt(trainer.head)
    return head
