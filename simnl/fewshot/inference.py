"""What a method sees of the images that it is tested on, which text tower it needs, and how one method stands on top of
another."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode as CN

from simnl.fewshot.capabilities import ANY_TEXT
from simnl.fewshot.description import taken_by
from simnl.fewshot.loaders import Whole


class Declarations:
    """Declarations of a method beside those of `VLTrainer`, whose base this is; its config can change some of them.

    Attributes:
        needs_class_token: True for a method whose vision transformer (`needs_vit`) must be read at its class token.
        needs_text: which text tower it needs: `ANY_TEXT`, `TRANSFORMER` or `CLIP_TEXT` of `capabilities`.
        inference: what it sees of the images that it is tested on, a key of `capabilities.INFERENCE`: `inductive` (one
            image at a time), `transductive` (all at once) or `online` (one after the other, with a memory).
        with_patches: True where image features are followed by those of the image's patches (`simnl.clip.patches`).
    """

    cfg: CN
    needs_class_token: bool = False
    needs_text: str = ANY_TEXT
    inference: str = "inductive"
    with_patches: bool = False

    @classmethod
    def inference_of(cls, cfg: CN) -> str:
        """What the method sees of the images that it is tested on, given its own node; by default `inference`."""
        return cls.inference

    @classmethod
    def base_of(cls, cfg: CN) -> str:
        """The method on top of which this one works, given the whole config; empty for one that stands alone."""
        return ""

    @classmethod
    def of(cls, cfg: CN) -> type:
        """The class that carries out a config: this one, unless it works on top of another method."""
        return cls

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
        """What the head takes of an image, a word of `simnl.fewshot.description`."""
        return taken_by(self)

    def seen_by_head(self, batches: Any) -> Any:
        """Batches of a set of images that is evaluated: all in one for a method that is not inductive."""
        return batches if self.inference_of(self.node) == "inductive" else Whole(batches)
