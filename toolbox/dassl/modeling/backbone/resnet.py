"""ResNets of torchvision without their classifier; parameters keep torchvision's names.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dassl._lazy import lazy
from dassl.modeling.ops import EFDMix, MixStyle

from .backbone import Backbone
from .build import BACKBONE_REGISTRY

__all__ = ["ResNet", "init_pretrained_weights", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

# name -> block of torchvision, and how many of them each of the four stages has
DESIGNS: dict[str, tuple[str, tuple[int, int, int, int]]] = {
    "resnet18": ("BasicBlock", (2, 2, 2, 2)),
    "resnet34": ("BasicBlock", (3, 4, 6, 3)),
    "resnet50": ("Bottleneck", (3, 4, 6, 3)),
    "resnet101": ("Bottleneck", (3, 4, 23, 3)),
    "resnet152": ("Bottleneck", (3, 8, 36, 3)),
}
STYLE_STAGES = {"l123": ("layer1", "layer2", "layer3"), "l12": ("layer1", "layer2"), "l1": ("layer1",)}

_from_torchvision = lazy(
    __name__,
    {"BasicBlock": "torchvision.models.resnet:BasicBlock", "Bottleneck": "torchvision.models.resnet:Bottleneck"},
)


def __getattr__(name: str) -> Any:
    """The blocks, and `model_urls`, name -> address of ImageNet weights; torchvision is imported for them."""
    if name != "model_urls":
        return _from_torchvision(name)
    from torchvision import models

    return {design: models.get_model_weights(design)["IMAGENET1K_V1"].url for design in DESIGNS}


class ResNet(Backbone):
    """A ResNet up to the global average pooling.

    Args:
        block: class of the residual blocks, like `BasicBlock` or `Bottleneck` of this module.
        layers: number of blocks in each of the four stages.
        ms_class: `MixStyle` or `EFDMix` of `dassl.modeling.ops`: mixes what comes out of the stages `ms_layers`.
        ms_layers: names of stages, like `layer1`.
        ms_p: probability of mixing; ms_a: its parameter alpha.
    """

    def __init__(
        self,
        block: Any,
        layers: Sequence[int],
        ms_class: type[nn.Module] | None = None,
        ms_layers: Sequence[str] = (),
        ms_p: float = 0.5,
        ms_a: float = 0.1,
        **kwargs: Any,
    ):
        super().__init__()
        from torchvision import models

        net = models.ResNet(block, list(layers))
        self._out_features = net.fc.in_features
        for child_name, child in net.named_children():
            if child_name == "avgpool":
                self.add_module("global_avgpool", child)
            elif child_name != "fc":
                self.add_module(child_name, child)
        self.mixstyle: Any = None
        self.ms_layers = list(ms_layers)
        if self.ms_layers:
            if ms_class is None:
                raise ValueError(f"ms_layers names {self.ms_layers}, but there is no ms_class to mix with")
            if unknown := sorted(set(self.ms_layers) - set(STYLE_STAGES["l123"])):
                raise ValueError(f"ms_layers names {unknown}. Choose from {list(STYLE_STAGES['l123'])}")
            self.mixstyle = ms_class(p=ms_p, alpha=ms_a)

    def featuremaps(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> feature maps (B, 512 or 2048, H / 32, W / 32)."""
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            x = getattr(self, name)(x)
            if name in self.ms_layers:
                x = self.mixstyle(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> features (B, 512) or (B, 2048)."""
        return self.get_submodule("global_avgpool")(self.featuremaps(x)).flatten(1)


def init_pretrained_weights(model: nn.Module, model_url: str) -> None:
    """Load a state dict from an address (kept in torch's cache folder); layers that the model lacks are left out."""
    state_dict = torch.hub.load_state_dict_from_url(model_url, map_location="cpu", check_hash=True, weights_only=True)
    model.load_state_dict(state_dict, strict=False)


def _build(name: str, pretrained: bool, ms_class: type[nn.Module] | None = None, stages: str = "") -> ResNet:
    from torchvision.models import resnet as blocks

    block, layers = DESIGNS[name]
    model = ResNet(getattr(blocks, block), layers, ms_class, STYLE_STAGES.get(stages, ()))
    if pretrained:
        init_pretrained_weights(model, __getattr__("model_urls")[name])
    return model


@BACKBONE_REGISTRY.register()
def resnet18(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-18, 512 features."""
    return _build("resnet18", pretrained)


@BACKBONE_REGISTRY.register()
def resnet34(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-34, 512 features."""
    return _build("resnet34", pretrained)


@BACKBONE_REGISTRY.register()
def resnet50(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-50, 2048 features."""
    return _build("resnet50", pretrained)


@BACKBONE_REGISTRY.register()
def resnet101(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-101, 2048 features."""
    return _build("resnet101", pretrained)


@BACKBONE_REGISTRY.register()
def resnet152(pretrained: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-152, 2048 features."""
    return _build("resnet152", pretrained)


def _register_with_style_mixing() -> None:
    """Register `resnet18_ms_l123` and its like: MixStyle (ms) or EFDMix after the first stages."""
    for name in ("resnet18", "resnet50", "resnet101"):
        for short, kind in (("ms", MixStyle), ("efdmix", EFDMix)):
            for stages in STYLE_STAGES:

                def build(pretrained: bool = True, _of=(name, kind, stages), **kwargs: Any) -> ResNet:
                    return _build(_of[0], pretrained, *_of[1:])

                build.__name__ = build.__qualname__ = f"{name}_{short}_{stages}"
                globals()[build.__name__] = BACKBONE_REGISTRY.register(build)
                __all__.append(build.__name__)


_register_with_style_mixing()
