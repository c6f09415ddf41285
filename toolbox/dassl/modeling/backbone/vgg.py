"""VGG-16 of torchvision without its last layer; parameters keep torchvision's names.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, https://arxiv.org/abs/1409.1556.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .resnet import init_pretrained_weights

__all__ = ["VGG", "init_pretrained_weights", "vgg16"]


class VGG(Backbone):
    """VGG-16 up to the second hidden layer of its classifier.

    Args:
        pretrained: load torchvision's ImageNet weights (version 1), downloading them on first use.
    """

    def __init__(self, pretrained: bool):
        super().__init__()
        from torchvision import models

        net = models.vgg16(weights="IMAGENET1K_V1" if pretrained else None)
        self.features = net.features
        self.avgpool = net.avgpool
        self.classifier = net.classifier[:-1]
        self._out_features = net.classifier[-1].in_features

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> features (B, 4096)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@BACKBONE_REGISTRY.register()
def vgg16(pretrained: bool = True, **kwargs: Any) -> VGG:
    """VGG-16, 4096 features."""
    return VGG(pretrained)
