"""The inputs of a head: features from the store, or pixels where a method changes the image tower.

Both kinds of input give the same three things: training batches under Dassl's batch keys, batches to select on, and a
stream of test batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.projection import before_projection
from simnl.clip.store import FeatureStore
from simnl.clip.transforms import Transform
from simnl.clip.views import ViewSpec
from simnl.fewshot.loaders import LabelledFeatures, PixelLoader, StreamLoader, SupportLoader
from simnl.fewshot.support import SupportSet, gather_support, train_views


def load_backbone(backbone, device: torch.device, early: bool = False) -> FrozenCLIP:
    """The frozen model of a config's node MODEL.BACKBONE, loaded once per process.

    With `early`, image features are those before the image tower's projection (`VLTrainer.before_projection`).
    """
    transform = Transform.from_keys(backbone.TRANSFORM)
    clip = load_clip(backbone.ARCH, backbone.WEIGHTS, backbone.PRECISION, str(device), transform)
    return before_projection(clip) if early else clip


def open_store(cfg, clip: FrozenCLIP, **options: bool) -> FeatureStore:
    """The feature store of a run; `options` are `progress` and `exclusive` of `FeatureStore`."""
    return FeatureStore(cfg.STORE.ROOT, clip, cfg.DATALOADER.NUM_WORKERS, cfg.STORE.BATCH_SIZE, **options)


class FeatureInputs:
    """Features of a frozen image tower, each encoded once.

    Args:
        cfg: the run's config.
        store: the store in which features are kept.
        preprocess: open_clip's preprocessing config of the model.
        device: the device of the heads.
    """

    def __init__(self, cfg, store: FeatureStore, preprocess: dict, device: torch.device):
        self.cfg, self.store, self.device = cfg, store, device
        self.test_view = ViewSpec.test(preprocess)
        self.train_specs = ViewSpec.of_training(preprocess, cfg.VIEWS.KIND, cfg.INPUT.RRCROP_SCALE)

    def support(self, dataset) -> SupportSet:
        """The K-shot images of a run."""
        return gather_support(self.cfg, dataset, self.store, self.train_specs)

    def train_loader(self, support: SupportSet):
        """Shuffled batches of the support set."""
        loader = self.cfg.DATALOADER.TRAIN_X
        return SupportLoader(
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
        """Test images, encoded now and read chunk by chunk later."""
        paths = [item.impath for item in items]
        self.store.warm(paths, self.test_view)
        return StreamLoader(lambda: self.store.stream(paths, self.test_view), _labels(items))


class PixelInputs(FeatureInputs):
    """Pixels, read and transformed in every epoch; the views are those of the store, drawn by the same generators."""

    def support(self, dataset) -> SupportSet:
        """The K-shot images of a run, not encoded."""
        return gather_support(self.cfg, dataset, self.store, self.train_specs, encode=False)

    def train_loader(self, support: SupportSet):
        """Shuffled batches of pixels (B, 3, H, W).

        Raises:
            ValueError: VIEWS asks for several transforms, or for rows of several views at once.
        """
        cfg = self.cfg
        if len(self.train_specs) > 1 or cfg.VIEWS.ORDER != "cycle":
            raise ValueError(
                f"VIEWS.KIND is '{cfg.VIEWS.KIND}' and VIEWS.ORDER '{cfg.VIEWS.ORDER}'. A method that trains from "
                "pixels reads one view of each image per pass: choose KIND random or centre, and ORDER cycle."
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
        store: the store that gives the features.
        device: the device of the heads.
        pixels: True for a method that changes the image tower.
    """
    return (PixelInputs if pixels else FeatureInputs)(cfg, store, store.clip.preprocess, device)


def _labels(items: Sequence) -> torch.Tensor:
    return torch.tensor([item.label for item in items], dtype=torch.int64)
