"""The inputs of a head: features from the store, or pixels for a method that changes the image tower.

Both kinds provide training batches under Dassl's batch keys, batches to select on, and a stream of test batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.patches import with_patches
from simnl.clip.projection import before_projection
from simnl.clip.store import FeatureStore
from simnl.clip.transforms import Transform
from simnl.clip.views import ViewSpec
from simnl.config_names import check_choice
from simnl.data.decoders import PILLOW, check_decoder
from simnl.fewshot.description import FEATURES, HIDDEN, PATCHES
from simnl.fewshot.loaders import ROWS, LabelledFeatures, PixelLoader, StreamLoader, SupportLoader
from simnl.fewshot.support import SupportSet, gather_support, train_views

STORED = ("fp32", "fp16")  # precisions in which image features are stored
Loader = TypeVar("Loader", bound=SupportLoader)


def seen_as(clip: FrozenCLIP, takes: str) -> FrozenCLIP:
    """The model that gives the kind of image features that a head takes (`simnl.fewshot.description`).

    Raises:
        ValueError: the image tower does not have such features.
    """
    if takes == HIDDEN and clip.image_projection is None:
        return before_projection(clip)
    return with_patches(clip) if takes == PATCHES and not clip.patches else clip


def load_backbone(backbone, device: torch.device, takes: str = FEATURES) -> FrozenCLIP:
    """The frozen model of a config's node MODEL.BACKBONE, loaded once per process.

    `takes` is the kind of image features that it gives.
    """
    transform = Transform.from_keys(backbone.TRANSFORM)
    clip = load_clip(backbone.ARCH, backbone.WEIGHTS, backbone.PRECISION, str(device), transform)
    return seen_as(decoded_by(clip, backbone.DECODER), takes)


def decoded_by(clip: FrozenCLIP, decoder: str) -> FrozenCLIP:
    """The model whose JPEG files a decoder of `simnl.data.decoders` reads.

    Raises:
        ValueError: there is no such decoder, or its package is not installed.
    """
    if check_decoder(decoder) == PILLOW:
        return clip
    return replace(clip, preprocess={**clip.preprocess, "decoder": decoder})


def open_store(cfg, clip: FrozenCLIP, **options: bool) -> FeatureStore:
    """The feature store of a run; `options` are `progress` and `exclusive` of `FeatureStore`.

    Raises:
        ValueError: MODEL.BACKBONE.STORED is no precision that features are kept in.
    """
    stored = cfg.MODEL.BACKBONE.STORED
    check_choice("MODEL.BACKBONE.STORED", stored, STORED)
    number, size = cfg.DATALOADER.NUM_WORKERS, cfg.STORE.BATCH_SIZE
    return FeatureStore(cfg.STORE.ROOT, clip, number, size, half=stored == "fp16", **options)


class FeatureInputs:
    """Features of a frozen image tower. Each is encoded once.

    Args:
        cfg: the run's config.
        store: the feature store.
        preprocess: open_clip's preprocessing config of the model.
        device: the device of the heads.
    """

    def __init__(self, cfg, store: FeatureStore, preprocess: dict, device: torch.device):
        self.cfg, self.store, self.device = cfg, store, device
        self.test_view = ViewSpec.test(preprocess)
        self.more_views = replace(ViewSpec.random(preprocess, cfg.INPUT.RRCROP_SCALE), augmix=True)
        self.num_more = max(0, cfg.TRAINER.get(cfg.TRAINER.NAME.upper(), {}).get("TEST_VIEWS", 1) - 1)
        self.train_specs = ViewSpec.of_training(preprocess, cfg.VIEWS.KIND, cfg.INPUT.RRCROP_SCALE)

    def support(self, dataset) -> SupportSet:
        """The K-shot images of a run."""
        return gather_support(self.cfg, dataset, self.store, self.train_specs, self.whole)

    def whole(self, paths: Sequence[str]) -> torch.Tensor:
        """Raw features (N, D) of images under the test transform, those that most methods take."""
        clip = load_backbone(self.cfg.MODEL.BACKBONE, self.device)
        return open_store(self.cfg, clip, progress=self.cfg.VERBOSE).images(paths, self.test_view)[0]

    def train_loader(self, support: SupportSet):
        """Shuffled batches of the support set."""
        return self.support_loader(support, SupportLoader)

    def support_loader(self, support: SupportSet, kind: type[Loader]) -> Loader:
        """Batches of the support set by a loader of this kind."""
        loader = self.cfg.DATALOADER.TRAIN_X
        return kind(
            support.train_features.to(self.device),
            support.train_labels.to(self.device),
            loader.BATCH_SIZE,
            self.cfg.SEED,
            loader.DROP_LAST,
            self.cfg.VIEWS.ORDER,
        )

    def validation(self, items: Sequence) -> LabelledFeatures:
        """The images on which epochs and hyper-parameters are chosen."""
        features = self.store.images([item.impath for item in items], self.test_view)[0]
        return LabelledFeatures(features.to(self.device), _labels(items).to(self.device))

    def stream(self, items: Sequence) -> StreamLoader | PixelLoader:
        """Features of test images, which are encoded now and read chunk by chunk later.

        They are (B, D), or (B, V, D) for a method with V TEST_VIEWS. The first view is under the test transform; the
        others are random crops under AugMix.
        """
        paths = [item.impath for item in items]
        self.store.warm(paths, self.test_view)
        if not self.num_more:
            return StreamLoader(lambda: self.store.stream(paths, self.test_view), _labels(items))
        self.store.warm(paths, self.more_views, range(self.num_more))
        return StreamLoader(lambda: self._several_views(paths), _labels(items))

    def _several_views(self, paths: Sequence[str]) -> Iterator[torch.Tensor]:
        """Features of several views, (1, n, V, D), chunk by chunk."""
        rows = max(1, ROWS // (1 + self.num_more))
        for start in range(0, len(paths), rows):
            part = paths[start : start + rows]
            more = self.store.images(part, self.more_views, range(self.num_more))
            yield torch.cat([self.store.images(part, self.test_view), more]).transpose(0, 1)[None]


class PixelInputs(FeatureInputs):
    """Pixels, which are read and transformed in every epoch. The same generators draw the views as for the store."""

    def support(self, dataset) -> SupportSet:
        """The K-shot images of a run, not encoded."""
        return gather_support(self.cfg, dataset, self.store, self.train_specs, self.whole, encode=False)

    def train_loader(self, support: SupportSet):
        """Shuffled batches of pixels (B, 3, H, W).

        Raises:
            ValueError: VIEWS asks for several transforms, or for rows of several views at once.
        """
        cfg = self.cfg
        if len(self.train_specs) > 1 or cfg.VIEWS.ORDER != "cycle":
            raise ValueError(
                f"VIEWS.KIND is '{cfg.VIEWS.KIND}' and VIEWS.ORDER is '{cfg.VIEWS.ORDER}'. A method that trains from "
                "pixels reads one view of each image per pass. Set KIND to random or centre, and ORDER to cycle."
            )
        return PixelLoader(
            self.store,
            support.train_items,
            self.train_specs[0],
            cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
            cfg.DATALOADER.NUM_WORKERS,
            seed=cfg.SEED,
            drop_last=cfg.DATALOADER.TRAIN_X.DROP_LAST,
            first_view=train_views(cfg).start,
            num_views=cfg.VIEWS.TRAIN,
        )

    def validation(self, items: Sequence):
        """Batches of pixels under the test transform."""
        return self.stream(items)

    def stream(self, items: Sequence) -> PixelLoader:
        """Batches of pixels under the test transform, in order."""
        cfg = self.cfg
        return PixelLoader(
            self.store, items, self.test_view, cfg.DATALOADER.TEST.BATCH_SIZE, cfg.DATALOADER.NUM_WORKERS
        )


def open_inputs(cfg, store: FeatureStore, device: torch.device, *, pixels: bool) -> FeatureInputs:
    """The inputs of a run.

    Args:
        cfg: the run's config.
        store: the feature store.
        device: the device of the heads.
        pixels: True for a method that changes the image tower.
    """
    return (PixelInputs if pixels else FeatureInputs)(cfg, store, store.clip.preprocess, device)


def _labels(items: Sequence) -> torch.Tensor:
    return torch.tensor([item.label for item in items], dtype=torch.int64)
