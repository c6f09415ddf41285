"""The support set of a run as features: views for the cache, views to train on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlm.store import FeatureStore
from vlm.views import ViewSpec

SECOND_DRAW = 3406  # the authors cache the draw of seed 1 and train on that of seed 3407: seed + 3406


@dataclass(frozen=True)
class SupportSet:
    """features (A, N, D), labels (N,), classes (N,) sorted: for the cache. train_features (V, M, D), train_labels
    (M,): for the loss."""

    features: Tensor
    labels: Tensor
    classes: Tensor
    train_features: Tensor
    train_labels: Tensor


def gather_support(cfg, dataset, store: FeatureStore, spec: ViewSpec) -> SupportSet:
    """Features of the K-shot images, rows sorted by class.

    VIEWS.CACHE views make the cache; training reads VIEWS.TRAIN views (0: one per epoch), the same ones where
    VIEWS.SHARED is on, else new ones. DATASET.TRAIN_DRAW `separate` trains on a second K-shot draw, as the authors'
    code does by accident.
    """
    items, classes = _sorted_rows(dataset.train_x, _true_labels(cfg, dataset))
    cache_views = range(cfg.VIEWS.CACHE)
    num_train = cfg.VIEWS.TRAIN or max(1, cfg.OPTIM.MAX_EPOCH)
    first = 0 if cfg.VIEWS.SHARED else cfg.VIEWS.CACHE
    train_views = range(first, first + num_train)
    train_items = items
    if cfg.DATASET.TRAIN_DRAW == "separate":
        train_items, _ = _sorted_rows(dataset.draw_train(cfg.SEED + SECOND_DRAW), None)
    features = store.images([i.impath for i in items], spec, list(cache_views))
    if train_items is items and train_views == cache_views:
        train_features = features
    else:
        train_features = store.images([i.impath for i in train_items], spec, list(train_views))
    return SupportSet(features, _labels(items), torch.tensor(classes), train_features, _labels(train_items))


def _true_labels(cfg, dataset) -> list[int] | None:
    """Rows are grouped by their label; by their true class where DATASET.GROUP_BY asks for the authors' grouping."""
    return dataset.clean_labels if cfg.DATASET.GROUP_BY == "true-class" else None


def _sorted_rows(items: list, classes: list[int] | None) -> tuple[list, list[int]]:
    keyed = sorted(zip(classes or [i.label for i in items], items, strict=True), key=lambda pair: pair[0])
    return [item for _, item in keyed], [c for c, _ in keyed]


def _labels(items: list) -> Tensor:
    return torch.tensor([item.label for item in items], dtype=torch.int64)
