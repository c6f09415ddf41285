"""Free-form networks; the registry is empty until a plugin fills it."""

from __future__ import annotations

from dassl._lazy import lazy
from dassl._upstream import refusing

from .build import NETWORK_REGISTRY, build_network

__all__ = ["NETWORK_REGISTRY", "build_network"]

__getattr__ = refusing(["dassl.modeling.network"], otherwise=lazy(__name__, {}))
