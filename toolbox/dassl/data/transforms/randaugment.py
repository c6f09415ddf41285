"""RandAugment and two relatives, on torchvision's operations. They draw from torch's generator.

Source: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space",
NeurIPS 2020, https://arxiv.org/abs/1909.13719; the variants are after Sohn et al., "FixMatch", NeurIPS 2020,
https://arxiv.org/abs/2001.07685.
"""

from __future__ import annotations

import torch
from PIL import Image
from torchvision import transforms

from .operations import fixmatch_list, randaugment_list, randaugment_list2

# The lists are for plugins that put together their own; the classes use torchvision's operations.
__all__ = [
    "RandAugment",
    "RandAugment2",
    "RandAugmentFixMatch",
    "fixmatch_list",
    "randaugment_list",
    "randaugment_list2",
]

NUM_LEVELS = 31  # magnitudes 0 to 30


class RandAugment(transforms.RandAugment):
    """`n` random operations, each with magnitude `m` of 0 to 30."""

    def __init__(self, n: int = 2, m: int = 10):
        super().__init__(num_ops=n, magnitude=m, num_magnitude_bins=NUM_LEVELS)


class RandAugmentFixMatch:
    """`n` random operations, each with a random magnitude."""

    p = 1.0

    def __init__(self, n: int = 2):
        self.n = n
        self.levels = [transforms.RandAugment(1, m, NUM_LEVELS) for m in range(NUM_LEVELS)]

    def __call__(self, img: Image.Image) -> Image.Image:
        """Apply to a PIL image."""
        for _ in range(self.n):
            if torch.rand(1).item() <= self.p:
                img = self.levels[int(torch.randint(NUM_LEVELS, (1,)))](img)
        return img


class RandAugment2(RandAugmentFixMatch):
    """`n` random operations, each with a random magnitude, and each done with probability `p`."""

    def __init__(self, n: int = 2, p: float = 0.6):
        super().__init__(n)
        self.p = p
