"""Heads: modules between a backbone and a classifier."""

from __future__ import annotations

from .build import HEAD_REGISTRY, build_head
from .mlp import mlp

__all__ = ["HEAD_REGISTRY", "build_head", "mlp"]
