"""The configs of the targets of TEST.TARGETS, and their names in records. This module needs no PyTorch.

A target is one of these three:

- `NAME`, a data set of the registry with the classes of the run: a shifted version of its data;
- `new`, the classes that a run on `DATASET.SUBSAMPLE_CLASSES base` leaves out;
- `cross:NAME`, a data set of the registry with other classes, or a folder of the user's own images.
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
from simnl.data.listing import find_folder, no_folder
from simnl.data.own_images import folder_of
from simnl.fewshot.capabilities import CROSS, NEW_CLASSES, is_on_new_classes
from simnl.runs.capabilities import refusal
from simnl.runs.config import assemble
from simnl.runs.record import OWN_IMAGES, own_images_name
from simnl.runs.yaml_files import read_yaml

log = logging.getLogger(__name__)


def target_config(cfg: CN, name: str) -> CN:
    """The config of a run with the data of a target in the place of its own, and with the prompts of the target, if
    any.

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
            f"The target {name} has all classes, but the run has only some (DATASET.SUBSAMPLE_CLASSES is "
            f"{cfg.DATASET.SUBSAMPLE_CLASSES}). Set that key to all, or leave {name} out of the targets."
        )
    if target.DATASET.SPLIT_FILE:  # it belongs to the source, and names are given for its classes
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
            f"'{NEW_CLASSES}' stands for the classes that a run on the base classes leaves out. Set "
            f"DATASET.SUBSAMPLE_CLASSES to base (it is {cfg.DATASET.SUBSAMPLE_CLASSES}), or leave '{NEW_CLASSES}' out."
        )
    other = cfg.clone()
    other.defrost()
    other.DATASET.SUBSAMPLE_CLASSES = "new"
    return other


def _with_other_classes(target: CN, name: str) -> CN:
    """The config with data and prompts of another data set of the registry, or of a folder of the user's own images.

    The prompts come from the config of that data set, because those of the source describe other classes.
    """
    target.DATASET.CLASSNAMES_FILE, target.DATASET.LABEL_NOISE = "", 0.0
    target.DATASET.FOLDER = "" if name in known("datasets") else name
    target.DATASET.CONFIG = config = check_other(target.DATASET.ROOT, name)
    same = ("PRESET", "SETTING", "TRAINER.NAME", "MODEL.BACKBONE.NAME", "MODEL.BACKBONE.ARCH", "DATASET.ROOT",
            "DATASET.CONFIG", "DATASET.FOLDER", "DATASET.NUM_SHOTS")  # fmt: skip
    files = [config_file("datasets", config), config_file("trainers", target.TRAINER.NAME)]
    own = assemble(files, settings={key: _value(target, key) for key in same})
    target.DATASET.NAME, target.PROMPTS = own.DATASET.NAME, own.PROMPTS
    target.DATASET.NUM_SHOTS = 1  # nothing is learned from the target, so it may have few images
    return target


def _value(cfg: CN, key: str) -> object:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def check_other(root: str, name: str) -> str:
    """The name of the config of a target with other classes: a data set's own, or that of folders of images.

    Raises:
        ValueError: there is neither a data set of this name nor such a folder (`simnl.data.listing.places_of`).
    """
    if name in known("datasets") and name != OWN_IMAGES:
        return name
    if name != OWN_IMAGES and find_folder(name, root).is_dir():
        return OWN_IMAGES
    names = [known_name for known_name in known("datasets") if known_name != OWN_IMAGES]
    raise ValueError(
        f"'{name}' is neither a data set nor a folder of images: {no_folder(name, root)}. Give a folder, or one of "
        f"{', '.join(names)}."
    )


def named_targets(cfg: CN) -> dict[str, str]:
    """The targets of a config, as {name in records: name in TEST.TARGETS}.

    Both names are the same, except for a folder of the user's own images. Records name it by its last name and eight
    hex digits, which are a hash of its labels, test images and prompts: `cross:imagefolder-mine@0a1b2c3d`.
    """
    return {_key(cfg, name): name for name in cfg.TEST.TARGETS}


def targets_of_record(cfg: CN, record: Mapping[str, Any]) -> dict[str, str]:
    """The result of `named_targets` for all targets in a run's record, also those of earlier commands.

    A folder of images that the run's stored config no longer names is left out, and the log says so.
    """
    here, found = named_targets(cfg), {}
    for key in record.get("targets", {}):
        if key not in here and key.startswith(f"{CROSS}{OWN_IMAGES}-"):
            log.warning("The target %s of %s is left out: its folder is not known.", key, record.get("path"))
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
