"""The registry of heads."""

from __future__ import annotations

from typing import Any

from torch import nn

from dassl.utils import Registry, check_availability

from .._build import build_registered

__all__ = ["HEAD_REGISTRY", "Registry", "build_head", "check_availability"]

HEAD_REGISTRY = Registry("HEAD")


def build_head(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build a head by calling what is registered as `name` with `kwargs`.

    Raises:
        ValueError: nothing of this name is registered.
    """
    return build_registered(HEAD_REGISTRY, "Head", name, verbose, kwargs)
