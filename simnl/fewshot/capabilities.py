"""What a method can do, the reasons why it cannot do something, and the values that shared keys can have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from simnl.clip import architectures

if TYPE_CHECKING:
    from simnl.declarations import Declared

TASKS = ("few-shot", "dg", "base2new", "cross")
# Names in TEST.TARGETS for classes that training did not see. All other names are those of shifted data sets.
NEW_CLASSES = "new"  # the classes that SUBSAMPLE_CLASSES base leaves out
CROSS = "cross:"  # the prefix of the name of a data set with other classes
FALLBACKS = ("refuse", "text", "neighbours")  # for methods without new classes, see simnl/fewshot/new_classes.py
CHOICES = {
    "SETTING": TASKS,
    "PROTOCOL": ("no-val", "held-shot", "fewshot-val", "full-val", "oracle-test"),
    "PRESET": ("repaired", "official"),
    "TEST.SPLIT": ("test",),
    "TEST.NEW_CLASSES": FALLBACKS,
    "SELECTION.EPOCH": ("best", "last"),
    "SELECTION.TIES": ("first", "last"),
    "TEST.FINAL_MODEL": ("last_step",),  # the epoch is selected by SELECTION.EPOCH, not by the engine
}
# The values of `needs_text`: any text tower, one of open_clip's transformers, or CLIP's own text tower.
ANY_TEXT, TRANSFORMER, CLIP_TEXT = "any", "transformer", "CLIP's"
# The values of `inference`. Tables show the sentence for methods that are not inductive.
INFERENCE = {
    "inductive": "",
    "transductive": "sees all test images at once, without their labels, before it predicts",
    "online": "sees the test images one after the other, without their labels, and remembers those before",
}


class Capable(Protocol):
    """What the class of a method declares about itself. `simnl.fewshot.trainer.VLTrainer` explains the attributes."""

    prompt_sets: tuple[str, ...]
    uses_support: bool
    training_free: bool
    inference: str
    needs_vit: bool
    needs_class_token: bool
    needs_text: str
    before_projection: bool
    with_patches: bool
    base_to_new: bool
    image_encoder_frozen: bool


def check_choices(cfg) -> None:
    """Refuse wrong values of the keys in `CHOICES`, a negative number of epochs, and a protocol that does not allow the
    number of shots.

    Raises:
        ValueError: the message names the key, its value, and the values that it can have.
    """
    for key, allowed in CHOICES.items():
        *path, leaf = key.split(".")
        value = (cfg[path[0]] if path else cfg)[leaf]
        if value not in allowed:
            raise ValueError(f"{key} is '{value}'. Choose one of: {', '.join(allowed)}.")
    if cfg.OPTIM.MAX_EPOCH < 0:
        raise ValueError(f"OPTIM.MAX_EPOCH is {cfg.OPTIM.MAX_EPOCH}. Set it to 0 (nothing is trained) or more.")
    if cfg.PROTOCOL == "held-shot" and cfg.DATASET.NUM_SHOTS == 1:
        raise ValueError(
            "PROTOCOL is held-shot, which holds out one image of each class and fits on the other ones. With one shot "
            "(DATASET.NUM_SHOTS is 1) there are no others. Use two shots or more, or PROTOCOL no-val."
        )


def check_towers(trainer: type[Capable], cfg) -> None:
    """Refuse half precision and a negative number of steps, which methods that train from pixels cannot have.

    Raises:
        ValueError: the message names the key, its value, and the values that it can have.
    """
    if trainer.image_encoder_frozen:
        return
    node = cfg.TRAINER[trainer.__name__.upper()]
    if node.get("STEPS_PER_SHOT", 0) < 0:
        key = f"TRAINER.{trainer.__name__.upper()}.STEPS_PER_SHOT"
        raise ValueError(f"{key} is {node.STEPS_PER_SHOT}. Set it to 0 (an epoch is a pass over the images) or more.")
    if cfg.MODEL.BACKBONE.PRECISION == "fp16":
        raise ValueError(
            "MODEL.BACKBONE.PRECISION is fp16, but gradients of the towers vanish in fp16 without a scaled loss. "
            "Choose bf16 or fp32."
        )


def refusal(
    trainer: type[Capable] | Declared,
    *,
    task: str = "few-shot",
    arch: str = "",
    eval_only: bool = False,
    fallback: str = FALLBACKS[0],
) -> str | None:
    """Why a method cannot do a task; None if it can.

    Args:
        trainer: a `VLTrainer` class, or its declarations (`simnl.declarations`), which have the names of `Capable`.
        task: `few-shot` trains and tests on one data set. `dg` also tests on shifted versions. `base2new` and `cross`
            also test on classes that training never saw, of the same data set or of others.
        arch: the open_clip architecture; empty if it is not known yet.
        eval_only: True if the data set has only test images.
        fallback: the value of TEST.NEW_CLASSES of a run that tests on new classes.

    Raises:
        ValueError: the task is unknown.
    """
    if task not in TASKS:
        raise ValueError(f"Unknown task '{task}'. Choose one of {', '.join(TASKS)}.")
    if eval_only and trainer.uses_support:
        return (
            "the method learns from training images, but the data set has only test images; train on the data set "
            "of which it is a variant (zero-shot CLIP runs on both)"
        )
    reason = _no_tower(trainer, arch) if arch else ""
    if reason:
        return reason
    if task in ("base2new", "cross") and not trainer.base_to_new:
        return _refused_fallback(trainer, fallback)
    return None


def _refused_fallback(trainer: type[Capable] | Declared, fallback: str) -> str | None:
    if trainer.inference != "inductive":
        return "it is fitted to the support images of the classes of training"
    if fallback == "refuse":
        return (
            "what it learns belongs to the classes of training, so it cannot classify new ones (TEST.NEW_CLASSES "
            "chooses a fallback)"
        )
    if "template" not in trainer.prompt_sets:
        return "it reads no text, and nothing else is known of new classes"
    if fallback == "neighbours" and not trainer.training_free:
        return (
            "it would have to learn from images that only stand in for new classes; set TEST.NEW_CLASSES to text, "
            "because neighbours is for training-free methods"
        )
    return None


def setting_of(subsample_classes: str, targets: Sequence[str]) -> str:
    """The task of a run, one of `TASKS`, which follows from DATASET.SUBSAMPLE_CLASSES and TEST.TARGETS.

    Methods may have constants of their own for each task.
    """
    if subsample_classes == "base":
        return "base2new"
    if any(map(is_on_new_classes, targets)):
        return "cross"
    return "dg" if targets else "few-shot"


def is_on_new_classes(target: str) -> bool:
    """True for a name in TEST.TARGETS that stands for classes that training did not see."""
    return target == NEW_CLASSES or target.startswith(CROSS)


def _no_tower(trainer: type[Capable] | Declared, arch: str) -> str:
    """Which tower a method needs that an architecture lacks, with advice; empty if it lacks none."""
    image = architectures.image_tower(arch)
    if trainer.needs_vit and image not in (architectures.VIT, architectures.POOLED_VIT):
        return f"it changes a vision transformer of open_clip's own, but {arch} has none; choose a ViT backbone"
    if trainer.needs_class_token and image != architectures.VIT:
        return f"it needs a ViT that is read at its class token, but that of {arch} is not; choose another ViT backbone"
    if trainer.before_projection and not architectures.has_projection(arch):
        return f"it learns the projection of a ViT or of CLIP's ResNet, but {arch} is neither; choose such a backbone"
    if trainer.with_patches and not architectures.has_projection(arch):
        return f"it reads patches of a ViT or of CLIP's ResNet, but {arch} is neither; choose such a backbone"
    text = architectures.text_tower(arch)
    if trainer.needs_text == CLIP_TEXT and text not in (architectures.CLIP_TEXT, architectures.UNKNOWN):
        return (
            f"it needs CLIP's own text tower, which is read at the end of the text, but {arch} has another; choose a "
            "backbone of OpenAI's kind (rn50, vit_b16, ...)"
        )
    if trainer.needs_text == TRANSFORMER and text == architectures.HUGGING_FACE:
        return (
            f"it changes a text tower of open_clip's own, but {arch} has one of Hugging Face; choose another backbone"
        )
    return ""
