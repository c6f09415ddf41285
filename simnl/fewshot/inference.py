"""What a method sees of the images that it is tested on, and how one method stands on top of another."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode as CN

from simnl.fewshot.description import taken_by
from simnl.fewshot.loaders import Whole


class Declarations:
    """Declarations of a method that its config can change; a base of `VLTrainer`.

    Attributes:
        inference: what it sees of the images that it is tested on, a key of `capabilities.INFERENCE`: `inductive` (one
            image at a time), `transductive` (all at once) or `online` (one after the other, with a memory).
        with_patches: True where image features are followed by those of the image's patches (`simnl.clip.patches`).
    """

    cfg: CN
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
