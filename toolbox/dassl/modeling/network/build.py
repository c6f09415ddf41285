"""The registry of networks."""

from __future__ import annotations

from typing import Any

from torch import nn

from dassl.utils import Registry, check_availability

from .._build import build_registered

__all__ = ["NETWORK_REGISTRY", "Registry", "build_network", "check_availability"]

NETWORK_REGISTRY = Registry("NETWORK")


def build_network(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build a network by calling what is registered as `name` with `kwargs`.

    Raises:
        ValueError: nothing of this name is registered.
    """
    return build_registered(NETWORK_REGISTRY, "Network", name, verbose, kwargs)
