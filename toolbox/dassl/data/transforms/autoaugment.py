"""The AutoAugment policies, as torchvision has them.

Upstream's own copies fail on current numpy. These draw from torch's generator, upstream's from Python's.

Source: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019,
https://arxiv.org/abs/1805.09501.
"""

from __future__ import annotations

from torchvision.transforms import AutoAugment, AutoAugmentPolicy

__all__ = ["CIFAR10Policy", "ImageNetPolicy", "SVHNPolicy"]

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
