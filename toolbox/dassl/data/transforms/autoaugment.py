"""The AutoAugment policies, as torchvision has them.

Upstream's own copies fail on current numpy. These draw from torch's generator, upstream's from Python's.

Source: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019,
https://arxiv.org/abs/1805.09501.
"""

from __future__ import annotations

import random

from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from .operations import OPERATIONS

__all__ = ["CIFAR10Policy", "ImageNetPolicy", "SVHNPolicy", "SubPolicy"]

GREY = [128, 128, 128]  # fills what a rotation or shear uncovers


class ImageNetPolicy(AutoAugment):
    """The policy learned on ImageNet."""

    def __init__(self):
        super().__init__(AutoAugmentPolicy.IMAGENET, fill=GREY)


class CIFAR10Policy(AutoAugment):
    """The policy learned on CIFAR-10."""

    def __init__(self):
        super().__init__(AutoAugmentPolicy.CIFAR10, fill=GREY)


class SVHNPolicy(AutoAugment):
    """The policy learned on SVHN."""

    def __init__(self):
        super().__init__(AutoAugmentPolicy.SVHN, fill=GREY)


class SubPolicy:
    """Two operations one after the other, each done with a probability; draws with Python's `random`.

    The policies above are torchvision's and do not use it. It is for plugins that put together their own.

    Args:
        p1, p2: probabilities.
        operation1, operation2: names from `operations.OPERATIONS`.
        magnitude_idx1, magnitude_idx2: levels from 0 to 9 within the operation's strengths.
        fillcolor: accepted as upstream's; what an operation uncovers is grey.

    Raises:
        ValueError: an unknown operation, or a level out of range.
    """

    def __init__(
        self,
        p1: float,
        operation1: str,
        magnitude_idx1: int,
        p2: float,
        operation2: str,
        magnitude_idx2: int,
        fillcolor: tuple[int, int, int] = (128, 128, 128),
    ):
        self.p1, self.p2 = p1, p2
        self.steps = []
        for p, name, level in ((p1, operation1, magnitude_idx1), (p2, operation2, magnitude_idx2)):
            if name not in OPERATIONS:
                raise ValueError(f"operation '{name}' is unknown. Choose one of {', '.join(OPERATIONS)}")
            if level not in range(10):
                raise ValueError(f"the level of {name} is {level}. Choose a whole number from 0 to 9")
            operation, least, greatest = OPERATIONS[name]
            self.steps.append((p, operation, least + (greatest - least) * level / 9))

    def __call__(self, img: Image.Image) -> Image.Image:
        """Apply to a PIL image."""
        for p, operation, strength in self.steps:
            if random.random() < p:
                img = operation(img, strength)
        return img
