"""The stored logits of a run: of its test images, of the images of its targets, and of its selection images.

They lie in `logits.safetensors` beside the record, with their labels and a check sum, so that later metrics need no new
run. If the file is missing or damaged, the run still counts as finished, because its record is complete. Only commands
that need logits then name the file (`read_logits`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simnl.commands import as_typed
from simnl.fewshot.capabilities import is_on_new_classes
from simnl.fewshot.packed_logits import Packed, PackedLogits, unpacked
from simnl.fewshot.selection import predict
from simnl.metrics.classification import Floats, Integers, checked
from simnl.sealed import DamagedError, read_tensors, write_tensors

log = logging.getLogger(__name__)

FILE = "logits.safetensors"
SCHEMA = 1
TEST, SELECTION, TARGET = "test", "selection", "target/"  # names of parts; a target's is `target/<name>`
LABELS, FACTORS = "/labels", "dac"
ORACLE = "oracle-test"  # the protocol whose selection images are the test images


@dataclass(frozen=True)
class Logits:
    """The stored logits of a run.

    Attributes:
        parts: logits (M, C) float64 and labels (M,) int64, by the name of the part.
        classnames: the C class names.
        logit_scale: the exponential of the model's learned scale.
        factors: of DAC (C,), by the name of a part of new classes; empty where the method has no texts to compare.
    """

    parts: Mapping[str, tuple[Floats, Integers]]
    classnames: tuple[str, ...]
    logit_scale: float
    factors: Mapping[str, Floats] = field(default_factory=dict)


def is_of_new_classes(part: str) -> bool:
    """Whether a part has images of classes that the head was not trained on."""
    return part.startswith(TARGET) and is_on_new_classes(part.removeprefix(TARGET))


class Keeper:
    """Gathers the parts of a run's logits, each within a limit of bytes.

    Args:
        classes: C, the number of classes of the run's own data.
        limit_mb: the megabytes that a part may take; 0 to store nothing.
    """

    def __init__(self, classes: int, limit_mb: int):
        self.classes, self.limit = classes, limit_mb * 2**20
        self.parts: dict[str, Packed] = {}
        self.left_out: dict[str, str] = {}
        self.test: PackedLogits | None = None

    @classmethod
    def of_test(cls, trainer) -> Keeper:
        """A keeper that gets the logits of a trainer's test batch by batch."""
        keeper = cls(trainer.num_classes, trainer.cfg.TEST.LOGITS_MB)
        if trainer.cfg.TEST.SPLIT == TEST:
            keeper.test = keeper.collector(len(trainer.dm.dataset.test))
            trainer.keep_logits = keeper.test.add
        return keeper

    def collector(self, images: int, classes: int | None = None) -> PackedLogits:
        """The buffer for the logits of a part."""
        return PackedLogits(images, classes or self.classes, self.limit)

    def keep(self, name: str, kept: PackedLogits, labels: Tensor, factors: Tensor | None = None) -> None:
        """Take a part whose logits have come, and DAC's factors; one that is too large is named in a note."""
        part = kept.part(labels)
        if part is not None:
            self.parts[name] = part if factors is None else {**part, FACTORS: factors}
            return
        size, limit = -(-kept.nbytes // 2**20), self.limit // 2**20
        self.left_out[name] = f"they need {size} MB, and TEST.LOGITS_MB is {limit}"
        if limit:
            log.warning("The logits of the part '%s' are not stored: %s.", name, self.left_out[name])


def keep_logits(trainer, keeper: Keeper, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write the logits of a trained run and of its selection images; see `write_logits`.

    Args:
        trainer: a trainer that has trained and tested.
        keeper: the keeper with the logits of the test and of the targets.
        record: the record of the run.
    """
    if keeper.test is not None:
        keeper.keep(TEST, keeper.test, torch.tensor([item.label for item in trainer.dm.dataset.test]))
    if record["protocol"] == ORACLE and TEST in keeper.parts:
        keeper.parts[SELECTION] = keeper.parts[TEST]
    elif trainer.num_val:
        kept = keeper.collector(trainer.num_val)
        labels = torch.empty(0)
        if kept.fits:  # otherwise nothing would be stored, so nothing is computed
            _, labels = predict(trainer.head, trainer.validation, trainer.device, keep=kept.add)
        keeper.keep(SELECTION, kept, labels)
    return write_logits(trainer.output_dir, keeper, record, trainer.classnames, trainer.clip.logit_scale)


def write_logits(
    folder: str | Path, keeper: Keeper, record: Mapping[str, Any], classnames: Iterable[str], logit_scale: float
) -> dict[str, Any]:
    """Write a run's logits. Logits of other targets that the file of the same run already has are kept.

    Returns:
        For the record: the file's name, the number of images of each part, and why parts are left out.
    """
    path = Path(folder) / FILE
    tensors = {f"{name}/{key}": value for name, part in keeper.parts.items() for key, value in part.items()}
    about = {"schema": SCHEMA, "classnames": list(classnames), "logit_scale": logit_scale, **_identity(record)}
    tensors = {**_earlier_targets(path, record), **tensors}
    write_tensors(path, tensors, about)
    images = {name.rpartition("/")[0]: len(rows) for name, rows in sorted(tensors.items()) if name.endswith(LABELS)}
    return {"file": FILE, "images": images, "left_out": dict(sorted(keeper.left_out.items()))}


def _identity(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("config_hash", "seed", "accuracy")}


def _earlier_targets(path: Path, record: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors of targets whose figures the record has from an earlier command."""
    try:
        tensors, about = read_tensors(path)
    except (OSError, ValueError):
        return {}
    if any(about.get(key) != value for key, value in _identity(record).items()):
        return {}
    known = {f"{TARGET}{name}" for name in record.get("targets", {})}
    return {name: tensor for name, tensor in tensors.items() if name.rpartition("/")[0] in known}


def read_logits(record: Mapping[str, Any]) -> Logits:
    """The logits of the run of a record, whose `path` says where it lies.

    Raises:
        FileNotFoundError: the run has no logits: it is from an earlier version, or they were removed.
        ValueError: the file is damaged, belongs to another run, or has numbers that are not finite. The message names
            it and says what to do.
    """
    folder = Path(record["path"]).parent
    advice = f"Compute its logits anew from its head: {as_typed('python tools/evaluate.py')} --again {folder}"
    path = folder / FILE
    tensors, about = read_tensors(path, advice)
    if any(about.get(key) != value for key, value in _identity(record).items()) or about.get("schema") != SCHEMA:
        raise DamagedError(path, "belongs to another run than the record beside it", advice)
    names = dict.fromkeys(name.rpartition("/")[0] for name in tensors)
    parts, factors = {}, {}
    for name in names:
        part = {key: tensors[f"{name}/{key}"] for key in ("logits", "top", "labels") if f"{name}/{key}" in tensors}
        try:
            parts[name] = checked(unpacked(part).numpy(), part["labels"].numpy().astype(np.int64))
        except (KeyError, ValueError) as error:
            raise DamagedError(path, f"cannot be used, part '{name}': {error}", advice) from error
        if (key := f"{name}/{FACTORS}") in tensors:
            factors[name] = tensors[key].double().numpy()
    return Logits(parts, tuple(map(str, about["classnames"])), float(about["logit_scale"]), factors)
