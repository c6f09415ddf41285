"""Methods on top of the one that their node names as BASE, which is read and trained as if it stood alone."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.trainer import VLTrainer


class OnTop(VLTrainer):
    """Base of such methods. A subclass gives `build_head`, and says which bases suit it and what it declares.

    A config is carried out by a class that derives from the method and from the base (`of`), so that whatever the base
    says of its training, search and prompts holds.
    """

    def __new__(cls, cfg: CN | None = None, *sources: Any):
        """An object of the class that the config asks for."""
        return super().__new__(cls if cfg is None else cls.of(cfg))

    @classmethod
    def own_node(cls, cfg: CN) -> CN:
        """The node of this method, not of the base."""
        return cfg.TRAINER[cls.__name__.upper()]

    @classmethod
    def base_of(cls, cfg: CN) -> str:
        """The method whose logits are taken."""
        return cls.own_node(cfg).BASE

    @classmethod
    def node_of(cls, cfg: CN) -> CN:
        """The base's node, which its own hooks read."""
        return cfg.TRAINER[cls.base_of(cfg).upper()]

    @classmethod
    def inference_of(cls, cfg: CN) -> str:
        """That of this method, whatever the base's options are."""
        return cls.inference

    @classmethod
    def suits(cls, base: type[VLTrainer]) -> str:
        """Why this method cannot stand on top of another one; empty where it can."""
        if base.inference != "inductive" or not base.image_encoder_frozen:
            return "this one changes the image tower, or sees other test images"
        return "this one stands on top of a method itself" if issubclass(base, OnTop) else ""

    @classmethod
    def declared(cls, base: type[VLTrainer], node: CN) -> dict[str, Any]:
        """What the class on top of a base declares, beside what it inherits; node: this method's own."""
        return {"training_free": base.training_free, "base_to_new": False}

    @classmethod
    def of(cls, cfg: CN) -> type[VLTrainer]:
        """This class on top of the base's.

        Raises:
            ValueError: BASE is no method that this one can be put on.
        """
        name, kinds = cls.base_of(cfg), {}
        for registered in TRAINER_REGISTRY.registered_names():
            kind = TRAINER_REGISTRY.get(registered)
            if issubclass(kind, VLTrainer):
                kinds[registered] = kind
        base = kinds.get(name)
        why = "there is no such method" if base is None else cls.suits(base)
        if base is not None and not why and base.inference_of(cls.node_of(cfg)) != "inductive":
            why = "with its options, this one sees other test images"
        if base is None or why:
            raise ValueError(
                f"TRAINER.{cls.__name__.upper()}.BASE is '{name}'. Choose a method that suits ({why}), one of: "
                f"{', '.join(n for n, kind in kinds.items() if not cls.suits(kind))}."
            )
        revision = 1000 * cls.revision + base.revision
        return type(cls.__name__, (cls, base), {**cls.declared(base, cls.own_node(cfg)), "revision": revision})

    def base_class(self) -> type[VLTrainer]:
        """The base's own class."""
        return TRAINER_REGISTRY.get(self.base_of(self.cfg))
