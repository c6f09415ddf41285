"""Backbones: images to feature vectors."""

from __future__ import annotations

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
