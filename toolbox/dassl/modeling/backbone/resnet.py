"""ResNets of torchvision without their classifier; parameters keep torchvision's names.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .backbone import Backbone
from .build import BACKBONE_REGISTRY

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


class ResNet(Backbone):
    """A ResNet up to the global average pooling.

    Args:
        name: torchvision's name, like `resnet18`.
        pretrained: load torchvision's ImageNet weights (version 1), downloading them on first use.
    """

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        from torchvision import models

        net: nn.Module = getattr(models, name)(weights="IMAGENET1K_V1" if pretrained else None)
        self._out_features = net.fc.in_features
        for child_name, child in net.named_children():
            if child_name != "fc":
                self.add_module(child_name, child)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> features (B, 512) or (B, 2048)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x).flatten(1)


@BACKBONE_REGISTRY.register()
def resnet18(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-18, 512 features."""
    return ResNet("resnet18", pretrained)


@BACKBONE_REGISTRY.register()
def resnet34(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-34, 512 features."""
    return ResNet("resnet34", pretrained)


@BACKBONE_REGISTRY.register()
def resnet50(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-50, 2048 features."""
    return ResNet("resnet50", pretrained)


@BACKBONE_REGISTRY.register()
def resnet101(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-101, 2048 features."""
    return ResNet("resnet101", pretrained)


@BACKBONE_REGISTRY.register()
def resnet152(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-152, 2048 features."""
    return ResNet("resnet152", pretrained)
