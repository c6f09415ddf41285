"""The support set of a run as features: the views for the cache, and the views to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.clip.store import FeatureStore
from simnl.clip.text import PromptSet, class_weights
from simnl.clip.views import ViewSpec
from simnl.data.wrong_labels import WrongLabels

Features = Callable[[Sequence[str]], Tensor]  # paths of images to their features
SECOND_DRAW = 3406  # the authors cache the draw of seed 1 and train on that of seed 3407: seed + 3406


@dataclass(frozen=True)
class SupportSet:
    """Features and labels of support images.

    For the cache, of the images `items`: features (A, N, D), labels (N,), and sorted classes (N,). For the loss, of the
    images `train_items`: train_features (V, M, D) and train_labels (M,).
    """

    features: Tensor
    labels: Tensor
    classes: Tensor
    train_features: Tensor
    train_labels: Tensor
    train_items: tuple = ()
    items: tuple = ()

    @classmethod
    def empty(cls, width: int) -> SupportSet:
        """The support of a method that looks at no training image; D = width."""
        features, labels = torch.zeros(1, 0, width), torch.zeros(0, dtype=torch.int64)
        return cls(features, labels, labels, features, labels)


def gather_support(
    cfg, dataset, store: FeatureStore, specs: Sequence[ViewSpec], whole: Features, encode: bool = True
) -> SupportSet:
    """Features of the K-shot images, rows sorted by class; without features where `encode` is off.

    Of a random transform, VIEWS.CACHE views make the cache; training reads VIEWS.TRAIN views (0: one per epoch), the
    same ones where VIEWS.SHARED is on, else new ones. A fixed transform (centre crop) has one view for both.
    DATASET.TRAIN_DRAW `separate` trains on a second K-shot draw, as the authors' code does by accident. Images that are
    held out (SELECTION.HOLD_OUT) are in neither. `whole` is for `settle_labels`.
    """
    settle_labels(cfg, dataset, store, whole)
    held = {item.impath for item in held_out(dataset.train_x)} if cfg.SELECTION.HOLD_OUT else set()
    items, classes = _sorted_rows(dataset.train_x, _true_labels(cfg, dataset), held)
    train_items = items
    if cfg.DATASET.TRAIN_DRAW == "separate":
        train_items, _ = _sorted_rows(dataset.draw_train(cfg.SEED + SECOND_DRAW), None, held)
    labels = _labels(items), torch.tensor(classes)
    if not encode:
        none = torch.zeros(1, len(items), 0)
        return SupportSet(none, *labels, none, _labels(train_items), tuple(train_items), tuple(items))
    features = _views(store, items, specs, range(cfg.VIEWS.CACHE))
    fixed = all(spec.crop_scale is None for spec in specs)
    if train_items is items and (fixed or train_views(cfg) == range(cfg.VIEWS.CACHE)):
        train_features = features
    else:
        train_features = _views(store, train_items, specs, train_views(cfg))
    return SupportSet(features, *labels, train_features, _labels(train_items), tuple(train_items), tuple(items))


def settle_labels(cfg, dataset, store: FeatureStore, whole: Features) -> None:
    """Under DATASET.NOISE_RULE confusable, tell the data set which classes are easy to confuse: the pairs of its file,
    else the nearest other class by the cosine of the templates' text features; under `instance`, what images look like.
    Called before a label is used.

    whole: paths to raw features (N, D) of the whole images, by the frozen tower, whatever features the method takes.
    """
    if isinstance(dataset, WrongLabels) and dataset.needs_features():
        dataset.look_at(lambda paths: F.normalize(whole(paths), dim=-1).double().cpu().numpy())
    if not isinstance(dataset, WrongLabels) or not dataset.needs_confusions():
        return
    others = dataset.given_confusions()
    if others is None:
        prompts = PromptSet.from_templates(cfg.PROMPTS.POSITIVE, dataset.classnames)
        rows, classes = store.texts(prompts.prompts), torch.tensor(prompts.classes)
        others = nearest_others(class_weights(rows, classes, dataset.num_classes, "normalize-mean-normalize")).tolist()
    dataset.confuse(others)


def nearest_others(text: Tensor) -> Tensor:
    """The other class whose unit text features (C, D) are nearest by cosine, (C,) int64."""
    return (text @ text.T).fill_diagonal_(-torch.inf).argmax(1)


def _views(store: FeatureStore, items: list, specs: Sequence[ViewSpec], views: range) -> Tensor:
    """Features (V, N, D) of the numbered views of a random transform, or of the only view of a fixed one."""
    paths = [item.impath for item in items]
    parts = [store.images(paths, spec, list(views) if spec.crop_scale else [0]) for spec in specs]
    return parts[0] if len(parts) == 1 else torch.cat(parts)  # cat would copy a single tensor


def train_views(cfg) -> range:
    """The numbers of the views that training reads."""
    first = 0 if cfg.VIEWS.SHARED else cfg.VIEWS.CACHE
    return range(first, first + (cfg.VIEWS.TRAIN or max(1, cfg.OPTIM.MAX_EPOCH)))


def _true_labels(cfg, dataset) -> list[int] | None:
    """The true classes if DATASET.GROUP_BY asks for rows grouped by them, as in the authors' code; else None."""
    return dataset.clean_labels if cfg.DATASET.GROUP_BY == "true-class" else None


def held_out(items: Sequence) -> list:
    """The last drawn image of each label that has two or more, on which PROTOCOL held-shot chooses."""
    last = {item.label: item for item in items}
    counts = Counter(item.label for item in items)
    return [item for label, item in sorted(last.items()) if counts[label] > 1]


def _sorted_rows(items: list, classes: list[int] | None, left_out: set[str]) -> tuple[list, list[int]]:
    pairs = zip(classes or [i.label for i in items], items, strict=True)
    keyed = sorted((pair for pair in pairs if pair[1].impath not in left_out), key=lambda pair: pair[0])
    return [item for _, item in keyed], [c for c, _ in keyed]


def _labels(items: list) -> Tensor:
    return torch.tensor([item.label for item in items], dtype=torch.int64)
