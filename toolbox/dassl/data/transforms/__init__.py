"""Image transforms from `cfg.INPUT`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yacs.config import CfgNode

from dassl._lazy import lazy

LAZY = {"INTERPOLATION_MODES": "dassl.data.transforms.transforms:INTERPOLATION_MODES"}
__all__ = ["build_transform", *LAZY]

# torchvision takes longer to import than the rest of the engine, and not every use needs it: it is imported
# on use.


def build_transform(cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None) -> Any:
    """The transform of `cfg.INPUT`; see `transforms.build_transform`."""
    from .transforms import build_transform as build

    return build(cfg, is_train, choices)


def build_transform_img0(cfg: CfgNode) -> Any:
    """The transform without augmentation that gives `img0`; see `transforms.build_transform_img0`."""
    from .transforms import build_transform_img0 as build

    return build(cfg)


__getattr__ = lazy(__name__, LAZY)
