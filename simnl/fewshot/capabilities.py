"""What a method can do, the reasons where it cannot, and the values that shared keys can have."""

from __future__ import annotations

from typing import Protocol

TASKS = ("few-shot", "dg", "base2new", "cross")
# Names in TEST.TARGETS that stand for classes that training did not see; other names are those of shifted data sets.
NEW_CLASSES = "new"  # the classes that SUBSAMPLE_CLASSES base leaves out
CROSS = "cross:"  # stands before the name of a data set of other classes
CHOICES = {
    "PROTOCOL": ("no-val", "held-shot", "fewshot-val", "full-val", "oracle-test"),
    "PRESET": ("repaired", "official"),
    "TEST.SPLIT": ("test",),
    "SELECTION.EPOCH": ("best", "last"),
    "SELECTION.TIES": ("first", "last"),
    "TEST.FINAL_MODEL": ("last_step",),  # the epoch is selected by SELECTION.EPOCH, not by the engine
}
# The values of `inference`; of a method that is not inductive, a table says the sentence beside it.
INFERENCE = {
    "inductive": "",
    "transductive": "sees all test images at once, without their labels, before it predicts",
    "online": "sees the test images one after the other, without their labels, and remembers those before",
}


class Capable(Protocol):
    """What a method's class declares of itself; the meanings are in `simnl.fewshot.trainer.VLTrainer`."""

    uses_support: bool
    needs_vit: bool
    before_projection: bool
    base_to_new: bool
    image_encoder_frozen: bool


def check_choices(cfg) -> None:
    """Refuse values that the keys of `CHOICES` cannot have, and a protocol that the number of shots does not allow.

    Raises:
        ValueError: the message names the key, its value, and the values that it can have.
    """
    for key, allowed in CHOICES.items():
        *path, leaf = key.split(".")
        value = (cfg[path[0]] if path else cfg)[leaf]
        if value not in allowed:
            raise ValueError(f"{key} is '{value}'. Choose one of: {', '.join(allowed)}.")
    if cfg.PROTOCOL == "held-shot" and cfg.DATASET.NUM_SHOTS == 1:
        raise ValueError(
            "PROTOCOL is held-shot, which holds out one image of each class and fits on the others, and with one shot "
            "there are no others (DATASET.NUM_SHOTS is 1). Use two shots or more, or PROTOCOL no-val."
        )


def check_towers(trainer: type[Capable], cfg) -> None:
    """Refuse half precision, and epochs without a step, which methods that train from pixels cannot have.

    Raises:
        ValueError: the message names the key, its value, and the values that it can have.
    """
    if trainer.image_encoder_frozen:
        return
    node = cfg.TRAINER[trainer.__name__.upper()]
    if node.get("STEPS_PER_SHOT", 0) < 0:
        key = f"TRAINER.{trainer.__name__.upper()}.STEPS_PER_SHOT"
        raise ValueError(f"{key} is {node.STEPS_PER_SHOT}: 0, where an epoch is a pass over the images, or more.")
    if cfg.MODEL.BACKBONE.PRECISION == "fp16":
        raise ValueError(
            "MODEL.BACKBONE.PRECISION is fp16, in which gradients of the towers vanish (no scaled loss is offered). "
            "Choose bf16 or fp32."
        )


def refusal(trainer: type[Capable], *, task: str = "few-shot", arch: str = "", eval_only: bool = False) -> str | None:
    """Why a method cannot do something; None if it can.

    Args:
        trainer: a `VLTrainer` class; its declarations are read (the names of `Capable`).
        task: few-shot: train and test on one data set; dg: test on shifted versions as well; base2new and cross: test
            on classes that training never saw, of the same data set or of others.
        arch: open_clip architecture; empty: not known yet.
        eval_only: the data set has test images only.

    Raises:
        ValueError: unknown task.
    """
    if task not in TASKS:
        raise ValueError(f"Unknown task '{task}'. Choose one of {', '.join(TASKS)}.")
    if eval_only and trainer.uses_support:
        return (
            "the data set has test images only, and the method learns from training images; train on the data set "
            "that it is a variant of (zero-shot CLIP runs on both)"
        )
    if trainer.needs_vit and arch and not is_vit(arch):
        return f"it changes a vision transformer, and {arch} is none; choose a ViT backbone"
    if trainer.before_projection and arch and not has_projection(arch):
        return f"it learns the projection of a ViT or of CLIP's ResNet, and {arch} is neither; choose such a backbone"
    if task in ("base2new", "cross") and not trainer.base_to_new:
        return "what it learns belongs to the classes of training, so it says nothing about new ones"
    return None


def is_on_new_classes(target: str) -> bool:
    """True for a name in TEST.TARGETS that stands for classes that training did not see."""
    return target == NEW_CLASSES or target.startswith(CROSS)


def is_vit(arch: str) -> bool:
    """True for an open_clip architecture whose image tower is open_clip's own vision transformer."""
    return isinstance(_layers(arch), int)


def has_projection(arch: str) -> bool:
    """True where the image tower is one of open_clip's own, which end in a projection: a ViT, or CLIP's ResNet."""
    return isinstance(_layers(arch), int | list | tuple)


def _layers(arch: str) -> object:
    """The layers of open_clip's own image tower, one number of a ViT and several of a ResNet; None of another tower."""
    import open_clip  # imported here because tables ask what methods can do, and this import takes seconds

    from simnl.clip.tiny_clip import BUNDLED

    config = (BUNDLED[arch].settings() if arch in BUNDLED else open_clip.get_model_config(arch)) or {}
    vision = config.get("vision_cfg", {})
    return None if vision.get("timm_model_name") else vision.get("layers")
