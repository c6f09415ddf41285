"""Free-form networks; the registry is empty until a plugin fills it."""

from __future__ import annotations

from .build import NETWORK_REGISTRY, build_network

__all__ = ["NETWORK_REGISTRY", "build_network"]
