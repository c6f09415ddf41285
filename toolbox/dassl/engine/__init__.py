"""Trainers: the loop, its hooks, checkpoints and logs. What needs PyTorch is imported when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dassl._lazy import lazy
from dassl._upstream import refusing

from .build import TRAINER_REGISTRY, build_trainer

if TYPE_CHECKING:
    from .dg import Vanilla
    from .trainer import SimpleNet, SimpleTrainer, TrainerBase, TrainerX, TrainerXU

__all__ = [
    "TRAINER_REGISTRY",
    "SimpleNet",
    "SimpleTrainer",
    "TrainerBase",
    "TrainerX",
    "TrainerXU",
    "Vanilla",
    "build_trainer",
]

LAZY = {
    "Vanilla": "dassl.engine.dg:Vanilla",
    **{name: f"dassl.engine.trainer:{name}" for name in __all__ if name.startswith(("Simple", "TrainerB", "TrainerX"))},
}

__getattr__ = refusing(["dassl.engine.da", "dassl.engine.dg", "dassl.engine.ssl"], otherwise=lazy(__name__, LAZY))
