"""The base of heads that run CLIP's towers: the cosine, and text features that are encoded once per evaluation."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from simnl.fewshot.capabilities import CLIP_TEXT
from simnl.fewshot.head import Head


class LearnsInTowers:
    """The declarations of a method that learns inside both towers of a ViT; a base class that stands before
    `VLTrainer`.

    Such a method trains from pixels, runs the text tower while it learns, has prompts of its own, and works for classes
    not seen in training.
    """

    prompt_sets: tuple[str, ...] = ()
    image_encoder_frozen: bool = False
    text_features_cached: bool = False
    needs_vit: bool = True
    needs_class_token: bool = True
    needs_text: str = CLIP_TEXT
    base_to_new: bool = True


class TowerHead(Head):
    """Cosine of image and text features by changed towers, times the logit scale.

    Args:
        logit_scale: s.
    """

    def __init__(self, logit_scale: float):
        super().__init__()
        self.logit_scale = logit_scale
        self._kept: tuple[Tensor, Tensor] | None = None

    @abstractmethod
    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw image features (B, D)."""

    @abstractmethod
    def encode_classes(self) -> Tensor:
        """The text classifier, unit rows (C, D)."""

    def text_features(self) -> Tensor:
        """Unit rows (C, D). Without gradients they are kept until the parameters change, as in an evaluation."""
        if torch.is_grad_enabled() or self.training:
            return self.encode_classes()
        if self._kept is not None and torch.compiler.is_compiling():
            return self._kept[1]  # an exported program cannot compare, so they are constants there
        learned = parameters_to_vector(self.parameters())
        if self._kept is None or not torch.equal(self._kept[0], learned):
            self._kept = learned, self.encode_classes()
        return self._kept[1]

    def texts(self) -> Tensor:
        """As `text_features`."""
        return self.text_features()

    def cosine(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Raw image features (B, D) and unit rows (C, D) to logits (B, C)."""
        return self.logit_scale * F.normalize(image_features, dim=-1) @ text_features.T

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to logits (B, C)."""
        return self.cosine(self.image_features(pixels), self.text_features())
