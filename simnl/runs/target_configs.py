"""Targets of TEST.TARGETS before anything is computed: their configs, and their names in records. No PyTorch here.

A target is one of three:

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

from dassl.data.datasets import DATASET_REGISTRY
from simnl.clip import prompt_files
from simnl.config_names import check_name, config_file, known
from simnl.data.own_images import folder_of
from simnl.fewshot.capabilities import CROSS, NEW_CLASSES, is_on_new_classes
from simnl.runs.capabilities import refusal
from simnl.runs.config import assemble
from simnl.runs.record import OWN_IMAGES, own_images_name
from simnl.runs.yaml_files import read_yaml

log = logging.getLogger(__name__)


def target_config(cfg: CN, name: str) -> CN:
    """The config of a run with the data of a target in the place of its own, and the prompts where it has other ones.

    Raises:
        ValueError: see `build_targets`.
    """
    target = cfg.clone()
    target.defrost()
    reason = refusal(cfg.TRAINER.NAME, task="base2new", fallback=cfg.TEST.NEW_CLASSES)
    if reason and is_on_new_classes(name):
        raise ValueError(f"{cfg.TRAINER.NAME} on new classes: {reason}.")
    if name == NEW_CLASSES:
        return with_new_classes(cfg)
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


def with_new_classes(cfg: CN) -> CN:
    """The config of a run with the classes that the run leaves out, and no others.

    Raises:
        ValueError: the run leaves out no classes.
    """
    if cfg.DATASET.SUBSAMPLE_CLASSES != "base":
        raise ValueError(
            f"'{NEW_CLASSES}' stands for the classes that a run on the other half leaves out: set "
            f"DATASET.SUBSAMPLE_CLASSES to base (it is {cfg.DATASET.SUBSAMPLE_CLASSES}), or leave '{NEW_CLASSES}' out."
        )
    other = cfg.clone()
    other.defrost()
    other.DATASET.SUBSAMPLE_CLASSES = "new"
    return other


def _with_other_classes(target: CN, name: str) -> CN:
    """The data and the prompts of a data set of the registry, or of a folder of one's own images.

    The prompts are those of the data set's own config, as the method has them there: the source's describe its classes.
    """
    target.DATASET.CLASSNAMES_FILE, target.DATASET.LABEL_NOISE = "", 0.0
    target.DATASET.FOLDER = "" if name in known("datasets") else name
    target.DATASET.CONFIG = config = check_other(target.DATASET.ROOT, name)
    same = ("PRESET", "SETTING", "TRAINER.NAME", "MODEL.BACKBONE.NAME", "MODEL.BACKBONE.ARCH", "DATASET.ROOT",
            "DATASET.CONFIG", "DATASET.FOLDER", "DATASET.NUM_SHOTS")  # fmt: skip
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
    content = dataset.identity(target) | prompt_files.identity(target, dataset.prompt_folders(target))
    content |= {key: list(target.PROMPTS[key]) for key in ("POSITIVE", "NEGATIVE")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"{CROSS}{own_images_name(folder_of(target))}@{digest}"
