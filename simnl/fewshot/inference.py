"""Declarations of methods: how they see test images, which text tower they need, and which base method they have."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode as CN

from simnl.fewshot.capabilities import ANY_TEXT
from simnl.fewshot.description import taken_by
from simnl.fewshot.loaders import Whole


class Declarations:
    """The base of `VLTrainer`, with further declarations of methods. The config of a run can change some of them.

    Attributes:
        needs_class_token: True for a method whose vision transformer (`needs_vit`) must be read at its class token.
        needs_text: the text tower that the method needs: `ANY_TEXT`, `TRANSFORMER` or `CLIP_TEXT` of `capabilities`.
        inference: how the method sees test images, a key of `capabilities.INFERENCE`: `inductive` (one image at a
            time), `transductive` (all at once) or `online` (one after the other, with a memory).
        with_patches: True if the features of an image are followed by those of its patches (`simnl.clip.patches`).
    """

    cfg: CN
    needs_class_token: bool = False
    needs_text: str = ANY_TEXT
    inference: str = "inductive"
    with_patches: bool = False

    @classmethod
    def inference_of(cls, cfg: CN) -> str:
        """How the method sees test images under its own config node; by default `inference`."""
        return cls.inference

    @classmethod
    def base_of(cls, cfg: CN) -> str:
        """The base method that the config names, if this method works on top of another one; else empty."""
        return ""

    @classmethod
    def of(cls, cfg: CN) -> type:
        """The class that carries out a config: this class, unless the method works on top of another one."""
        return cls

    def base_class(self) -> type:
        """The class whose hooks learn: that of the base method, where this method works on top of another one."""
        return type(self)

    @classmethod
    def node_of(cls, cfg: CN) -> CN:
        """The node of a config that the hooks of this class read."""
        return cfg.TRAINER[cls.__name__.upper()]

    @property
    def node(self) -> CN:
        """The method's own config node."""
        return self.node_of(self.cfg)

    @property
    def takes(self) -> str:
        """The kind of input that the head takes, a constant of `simnl.fewshot.description`."""
        return taken_by(self)

    def seen_by_head(self, batches: Any) -> Any:
        """The batches of an evaluation as the head gets them: one single batch for a method that is not inductive."""
        return batches if self.inference_of(self.node) == "inductive" else Whole(batches)
