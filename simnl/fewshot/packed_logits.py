"""Logits that are kept after a pass over images. They are packed batch by batch to save memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

LARGE = 256  # with more classes, logits are stored as float16 distances from the largest one
LOWEST = torch.finfo(torch.float16).min

# The tensors of a part: `logits` (M, C), `top` (M,) float32 if the logits are float16, and `labels` (M,) int32.
Packed = Mapping[str, Tensor]


@dataclass
class PackedLogits:
    """Collects the logits of M images of C classes, in order.

    With up to 256 classes, logits are float32. With more, they are float16 distances from the image's largest logit,
    which is stored in float32. Probabilities and predictions depend only on these distances, and the small ones, which
    matter most, are the most precise (the step is 2^-11 of the distance). Distances beyond -65504 are stored as -65504.

    Args:
        images: M, from which the size is known before anything is computed.
        classes: C.
        limit: the largest number of bytes; nothing is stored if the logits need more.
    """

    images: int
    classes: int
    limit: int
    logits: list[Tensor] = field(default_factory=list)
    top: list[Tensor] = field(default_factory=list)

    @property
    def is_packed(self) -> bool:
        """True if logits are stored as float16 distances."""
        return self.classes > LARGE

    @property
    def nbytes(self) -> int:
        """The number of bytes of all logits."""
        return self.images * (2 * self.classes + 4 if self.is_packed else 4 * self.classes)

    @property
    def fits(self) -> bool:
        """Whether the logits are stored, because they do not exceed the limit."""
        return self.nbytes <= self.limit

    def add(self, logits: Tensor) -> None:
        """Take the logits (B, C) of the next images."""
        if not self.fits:
            return
        logits = logits.detach().float()
        if self.is_packed:
            top = logits.max(1).values
            self.top.append(top.cpu())
            logits = (logits - top[:, None]).clamp(min=LOWEST).half()
        self.logits.append(logits.cpu())

    def part(self, labels: Tensor) -> Packed | None:
        """The tensors of a part, with the labels (M,); None if the logits are not stored.

        Raises:
            ValueError: the number of logits or labels is not M.
        """
        if not self.fits:
            return None
        logits = torch.cat(self.logits) if self.logits else torch.empty(0, self.classes)
        if len(logits) != self.images or len(labels) != self.images:
            raise ValueError(f"There are {len(logits)} logits and {len(labels)} labels of {self.images} images.")
        packed = {"logits": logits, "labels": labels.to(torch.int32).cpu()}
        return packed | ({"top": torch.cat(self.top)} if self.is_packed else {})


def unpacked(part: Packed) -> Tensor:
    """The logits of a part, (M, C) float64."""
    logits = part["logits"].double()
    return logits + part["top"].double()[:, None] if "top" in part else logits
