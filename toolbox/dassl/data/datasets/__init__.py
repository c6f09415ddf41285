"""Base classes of data sets, and their registry. Data sets themselves come with the plugins."""

from __future__ import annotations

from dassl._lazy import lazy
from dassl._upstream import refusing

from .base_dataset import DatasetBase, Datum
from .build import DATASET_REGISTRY, build_dataset

__all__ = ["DATASET_REGISTRY", "DatasetBase", "Datum", "build_dataset"]

__getattr__ = refusing(
    ["dassl.data.datasets.da", "dassl.data.datasets.dg", "dassl.data.datasets.ssl"], otherwise=lazy(__name__, {})
)
