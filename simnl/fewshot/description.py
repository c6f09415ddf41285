"""What a head file says about its head: the method, the classes, the backbone, and how the run was set up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from simnl.clip.model import FrozenCLIP

FEATURES, HIDDEN = "features", "features before the projection"  # the inputs that heads take
PATCHES, PIXELS = "features with those of patches", "pixels"
DISTRIBUTION = "simnl"


def package_version() -> str:
    """The version of this program; empty if it is not installed as a package."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class BackboneDescription:
    """The frozen CLIP whose features a head takes.

    Attributes:
        name: the name that tables show, e.g. `RN50`.
        arch, weights, precision: the arguments of `simnl.clip.model.load_clip`.
        fingerprint: the hash of the weights.
        transform: open_clip's preprocessing config of the model: size, mean, std, interpolation, resize_mode.
        width: the number of values in an image feature as the head takes it.
    """

    name: str
    arch: str
    weights: str
    precision: str
    fingerprint: str
    transform: dict[str, Any]
    width: int

    @classmethod
    def of(cls, clip: FrozenCLIP, name: str = "") -> BackboneDescription:
        """The description of a loaded model."""
        transform = {key: list(v) if isinstance(v, tuple) else v for key, v in clip.preprocess.items()}
        return cls(
            name or clip.arch, clip.arch, clip.weights, clip.precision, clip.fingerprint, transform, clip.image_dim
        )


@dataclass(frozen=True)
class HeadDescription:
    """Everything that a head file says about a head, except its tensors.

    Attributes:
        method: the registered name of the method.
        classnames: the C class names, in the order of the labels.
        backbone: the frozen CLIP.
        hparams: the hyper-parameters in use.
        num_shots, protocol, preset, dataset, seed: the settings of the run.
        logit_scale: the exponential of the model's learned scale.
        temperature: the divisor of the logits before the softmax that gives probabilities.
        takes: the input of the head: `features`, features before the image tower's projection, features of an image and
            its patches, or `pixels` if the method changes the tower.
        support: relative file names of the support images, in the order of the cache's rows; empty if not known.
        templates: the templates of the prompts, by set (`template`, `negative`), with {} in the place of the name. The
            sentences of the set `cupl` are not stored. Empty if no prompt was encoded, or if not known.
        labels: the numbers or words by which a program calls the classes, in the order of the names; empty if it uses
            the names.
        package_version: the version of the program that wrote the file.
    """

    method: str
    classnames: tuple[str, ...]
    backbone: BackboneDescription
    hparams: dict[str, float] = field(default_factory=dict)
    num_shots: int = 0
    protocol: str = ""
    preset: str = ""
    dataset: str = ""
    seed: int = 0
    logit_scale: float = 1.0
    temperature: float = 1.0
    takes: str = FEATURES
    support: tuple[str, ...] = ()
    templates: dict[str, list[str]] = field(default_factory=dict)
    labels: tuple[Any, ...] = ()
    package_version: str = field(default_factory=package_version)

    def to_json(self) -> dict[str, Any]:
        """This description as a json object."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> HeadDescription:
        """The description in a json object. Keys that this version does not know are left out.

        Raises:
            KeyError, TypeError: an entry is missing, or of another type.
        """
        known = {key: content[key] for key in cls.__dataclass_fields__ if key in content}
        backbone = {key: content["backbone"][key] for key in BackboneDescription.__dataclass_fields__}
        names = {key: tuple(map(str, content[key])) for key in ("classnames", "support")}
        labels = tuple(content.get("labels", ()))
        return cls(**{**known, **names, "labels": labels, "backbone": BackboneDescription(**backbone)})


def taken_by(trainer: Any) -> str:
    """The kind of input that the head of a method takes; `trainer` is the method's class or an object of it."""
    if not trainer.image_encoder_frozen:
        return PIXELS
    return HIDDEN if trainer.before_projection else PATCHES if trainer.with_patches else FEATURES


def describe(trainer) -> HeadDescription:
    """The description of a trainer's head (a `VLTrainer` whose head is built)."""
    cfg, support = trainer.cfg, trainer.support
    items = getattr(support, "items", ()) if trainer.uses_support else ()
    return HeadDescription(
        method=type(trainer).__name__,
        classnames=tuple(trainer.task.classnames),
        backbone=BackboneDescription.of(trainer.clip, cfg.MODEL.BACKBONE.NAME),
        hparams=dict(getattr(trainer.head, "hparams", {})),
        num_shots=cfg.DATASET.NUM_SHOTS,
        protocol=cfg.PROTOCOL,
        preset=cfg.PRESET,
        dataset=cfg.DATASET.CONFIG or cfg.DATASET.NAME,
        seed=cfg.SEED,
        logit_scale=trainer.task.logit_scale,
        takes=trainer.takes,
        support=relative_names([item.impath for item in items]),
        templates=_templates(trainer),
    )


def _templates(trainer) -> dict[str, list[str]]:
    if not trainer.clip.context_length:  # no text tower: the user gave text features
        return {}
    known = {"template": trainer.cfg.PROMPTS.POSITIVE, "negative": trainer.cfg.PROMPTS.NEGATIVE}
    return {name: list(known.get(name, [])) for name in trainer.task.prompts}


def relative_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Paths relative to the innermost folder that holds them all, so that they do not reveal folders of the machine."""
    if not paths or not all(paths):
        return ()
    absolute = [os.path.abspath(path) for path in paths]
    common = os.path.commonpath([os.path.dirname(path) for path in absolute])
    names = (os.path.relpath(path, common).replace(os.sep, "/") for path in absolute)
    return tuple(name.encode("utf-8", "backslashreplace").decode() for name in names)
