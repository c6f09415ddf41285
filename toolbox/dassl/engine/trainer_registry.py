"""The registry of trainers, in a module of its own: the baseline registers itself, and `build_trainer` imports it."""

from __future__ import annotations

from dassl.utils import Registry

__all__ = ["TRAINER_REGISTRY"]

TRAINER_REGISTRY = Registry("TRAINER")
