"""Optimisers and learning-rate schedules from `cfg.OPTIM`."""

from __future__ import annotations

from .lr_scheduler import build_lr_scheduler
from .optimizer import build_optimizer

__all__ = ["build_lr_scheduler", "build_optimizer"]
