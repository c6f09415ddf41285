"""Data sets, transforms, samplers and loaders. What needs PyTorch is imported when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dassl._lazy import lazy

if TYPE_CHECKING:
    from .data_manager import DataManager, DatasetWrapper

__all__ = ["DataManager", "DatasetWrapper"]

__getattr__ = lazy(__name__, {name: f"dassl.data.data_manager:{name}" for name in __all__})
