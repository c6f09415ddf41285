"""Backbones: images to feature vectors."""

from __future__ import annotations

from typing import Any

from dassl._upstream import refusing

from . import resnet
from .backbone import Backbone
from .build import BACKBONE_REGISTRY, build_backbone
from .resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from .vgg import vgg16

__all__ = [
    "BACKBONE_REGISTRY",
    "Backbone",
    "build_backbone",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
]


def _style_mixing(name: str) -> Any:
    """`resnet18_ms_l123` and its like."""
    if name in resnet.__all__:
        return getattr(resnet, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__getattr__ = refusing(["dassl.modeling.backbone"], otherwise=_style_mixing)
