"""Trainers: the loop, its hooks, checkpoints and logs."""

from __future__ import annotations

from dassl._lazy import lazy
from dassl._upstream import refusing

from .build import TRAINER_REGISTRY, build_trainer
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

__getattr__ = refusing(["dassl.engine.da", "dassl.engine.dg", "dassl.engine.ssl"], otherwise=lazy(__name__, {}))
