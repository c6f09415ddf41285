"""The registry of data sets."""

from __future__ import annotations

from yacs.config import CfgNode

from dassl.utils import Registry, check_availability

from .base_dataset import DatasetBase

__all__ = ["DATASET_REGISTRY", "Registry", "build_dataset", "check_availability"]

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg: CfgNode) -> DatasetBase:
    """Build the data set `cfg.DATASET.NAME` by calling its class with `cfg`.

    Raises:
        ValueError: no data set of this name is registered.
    """
    check_availability(cfg.DATASET.NAME, DATASET_REGISTRY.registered_names())
    if cfg.VERBOSE:
        print(f"Loading dataset: {cfg.DATASET.NAME}")
    return DATASET_REGISTRY.get(cfg.DATASET.NAME)(cfg)
