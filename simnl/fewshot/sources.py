"""Where a trainer's data set, model, features and texts come from.

`Sources` takes what the config of a run names: a registered data set, the weights, the feature store. The classifier
for programs (`simnl/classifier/`) has the same trainer learn from what is in memory: `simnl.fewshot.memory.Memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchvision import transforms as T
from yacs.config import CfgNode as CN

from dassl.data import DataManager
from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.prompts import check_told_apart, encode_prompt_sets
from simnl.clip.store import FeatureStore
from simnl.clip.text import PromptFeatures
from simnl.clip.transforms import Transform


class Sources:
    """What a run's config names.

    Attributes:
        writes_log: whether TensorBoard's log is written into the run's folder.
    """

    writes_log: bool = True

    def data(self, cfg: CN) -> Any:
        """What holds the data set (`dataset`), `num_classes` and `lab2cname`, as the engine's `DataManager` does."""
        return DataManager(cfg, T.ToTensor(), T.ToTensor())

    def clip(self, cfg: CN, device: torch.device) -> FrozenCLIP:
        """The frozen model."""
        b = cfg.MODEL.BACKBONE
        return load_clip(b.ARCH, b.WEIGHTS, b.PRECISION, str(device), Transform.from_keys(b.TRANSFORM))

    def store(self, cfg: CN, clip: FrozenCLIP) -> FeatureStore:
        """What gives the features of images and of texts."""
        workers, size = cfg.DATALOADER.NUM_WORKERS, cfg.STORE.BATCH_SIZE
        return FeatureStore(cfg.STORE.ROOT, clip, workers, size, progress=cfg.VERBOSE)

    def check_names(self, clip: FrozenCLIP, templates: Sequence[str], names: Sequence[str], own_names: bool) -> None:
        """Classes that no prompt tells apart are told, or refused, before anything is encoded."""
        check_told_apart(clip, templates, names, own_names)

    def prompts(
        self,
        cfg: CN,
        dataset,
        names: Sequence[str],
        store: FeatureStore,
        needed: Sequence[str],
        optional: Sequence[str],
    ) -> dict[str, PromptFeatures]:
        """Raw text features of the prompt sets that a method needs, and of optional ones that are at hand."""
        return encode_prompt_sets(cfg, dataset, names, store, needed, optional)

    def epoch_done(self, epoch: int, max_epoch: int) -> None:
        """Called after each epoch of training; epochs count from 1."""
