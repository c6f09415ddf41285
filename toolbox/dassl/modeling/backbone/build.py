"""The registry of backbones."""

from __future__ import annotations

from typing import Any

from torch import nn

from dassl.utils import Registry, check_availability

from .._build import build_registered

__all__ = ["BACKBONE_REGISTRY", "Registry", "build_backbone", "check_availability"]

BACKBONE_REGISTRY = Registry("BACKBONE")


def build_backbone(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build a backbone by calling what is registered as `name` with `kwargs`.

    Raises:
        ValueError: nothing of this name is registered.
    """
    return build_registered(BACKBONE_REGISTRY, "Backbone", name, verbose, kwargs)
