"""Methods on top of a base method, which their config node names as BASE and which is trained as if it stood alone."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.trainer import VLTrainer


class OnTop(VLTrainer):
    """The base class of methods on top of another one. A subclass defines `build_head`, `suits` and `declared`.

    A class that derives from the method and from its base method carries out a config (`of`), so that training, search
    and prompts are those of the base method.
    """

    def __new__(cls, cfg: CN | None = None, *sources: Any):
        """An object of the class that the config asks for."""
        return super().__new__(cls if cfg is None else cls.of(cfg))

    @classmethod
    def own_node(cls, cfg: CN) -> CN:
        """The config node of this method, not of its base method."""
        return cfg.TRAINER[cls.__name__.upper()]

    @classmethod
    def base_of(cls, cfg: CN) -> str:
        """The base method, whose logits this method takes."""
        return cls.own_node(cfg).BASE

    @classmethod
    def node_of(cls, cfg: CN) -> CN:
        """The config node of the base method, which its hooks read."""
        return cfg.TRAINER[cls.base_of(cfg).upper()]

    @classmethod
    def inference_of(cls, cfg: CN) -> str:
        """The declaration of this method, whatever the options of the base method are."""
        return cls.inference

    @classmethod
    def suits(cls, base: type[VLTrainer]) -> str:
        """Why this method cannot work on top of a base method; empty if it can."""
        if base.inference != "inductive" or not base.image_encoder_frozen:
            return "that method changes the image tower, or sees other test images"
        if base.with_patches:
            return "the features of that method are followed by those of patches"
        return "that method works on top of another one itself" if issubclass(base, OnTop) else ""

    @classmethod
    def declared(cls, base: type[VLTrainer], node: CN) -> dict[str, Any]:
        """Declarations of the class on top of a base method that it does not inherit. `node` is this method's own."""
        return {"training_free": base.training_free, "base_to_new": False}

    @classmethod
    def of(cls, cfg: CN) -> type[VLTrainer]:
        """The class of this method on top of the base method.

        Raises:
            ValueError: BASE is not a method that suits.
        """
        name, kinds = cls.base_of(cfg), {}
        for registered in TRAINER_REGISTRY.registered_names():
            kind = TRAINER_REGISTRY.get(registered)
            if issubclass(kind, VLTrainer):
                kinds[registered] = kind
        base = kinds.get(name)
        why = "there is no such method" if base is None else cls.suits(base)
        if base is not None and not why and base.inference_of(cls.node_of(cfg)) != "inductive":
            why = "with its options, that method sees other test images"
        if base is None or why:
            raise ValueError(
                f"TRAINER.{cls.__name__.upper()}.BASE is '{name}', which does not suit: {why}. Choose one of "
                f"{', '.join(n for n, kind in kinds.items() if not cls.suits(kind))}."
            )
        revision = 1000 * cls.revision + base.revision
        return type(cls.__name__, (cls, base), {**cls.declared(base, cls.own_node(cfg)), "revision": revision})

    def base_class(self) -> type[VLTrainer]:
        """The class of the base method."""
        return TRAINER_REGISTRY.get(self.base_of(self.cfg))
