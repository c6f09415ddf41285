"""A head that was read from a file, and the questions that it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from simnl.clip.batches import in_fixed_batches
from simnl.clip.model import BATCH_ROWS, FrozenCLIP
from simnl.fewshot.description import PIXELS, HeadDescription
from simnl.fewshot.encoder import ImageEncoder
from simnl.fewshot.head import Head


@dataclass(frozen=True)
class LoadedHead:
    """A head that predicts, on one device, with its description.

    Attributes:
        head: the module, in evaluation mode.
        about: the description of the head.
        path: the file it came from.
        device: the device of the head. Results are on the CPU.
    """

    head: Head
    about: HeadDescription
    path: Path
    device: torch.device

    @property
    def classnames(self) -> tuple[str, ...]:
        """C names."""
        return self.about.classnames

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (B, C) float32 of raw image features (B, D), or of pixels (B, 3, H, W) if the head takes pixels."""
        if not len(inputs):
            return torch.zeros(0, len(self.classnames))
        if self.about.takes == PIXELS:
            return in_fixed_batches(lambda part: self.head(part.to(self.device)).cpu(), inputs, BATCH_ROWS)
        return self.head(self._checked(inputs)).float().cpu()

    def probabilities(self, inputs: Tensor) -> Tensor:
        """softmax(logits / temperature), (B, C)."""
        return (self.logits(inputs) / self.about.temperature).softmax(-1)

    @torch.no_grad()
    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """Terms (B, C) by name, whose sum are the logits. `features` are those of `logits`."""
        inputs = features if self.about.takes == PIXELS else self._checked(features)
        return {name: term.float().cpu() for name, term in self.head.evidence(inputs.to(self.device)).items()}

    @torch.no_grad()
    def support_evidence(self, features: Tensor, classes: Tensor) -> Tensor | None:
        """What each support image adds to the logit of a class, (B, N); None if no image has a part of its own.

        Args:
            features: (B, D).
            classes: (B,) int64.
        """
        if not self.head.support_terms:
            return None
        return self.head.support_evidence(self._checked(features), classes.to(self.device)).float().cpu()

    def encoder(self, clip: FrozenCLIP | None = None, weights: str = "") -> ImageEncoder:
        """The encoder that turns images into inputs of the head, on its device; see `ImageEncoder`."""
        return ImageEncoder(self.about, clip=clip, weights=weights, device=str(self.device), where=str(self.path))

    def _checked(self, features: Tensor) -> Tensor:
        width = self.about.backbone.width
        if features.ndim != 2 or features.shape[1] != width:
            raise ValueError(
                f"{self.path} takes features of shape (images, {width}), as {self.about.backbone.name} gives them, but "
                f"these features have the shape {tuple(features.shape)}."
            )
        return features.to(self.device)
