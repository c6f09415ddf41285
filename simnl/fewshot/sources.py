"""Where a trainer gets its data set, model, features and texts from.

`Sources` uses what the config of a run names: a registered data set, the weights, the feature store. The classifier for
programs (`simnl/classifier/`) lets the same trainer learn from what is in memory: `simnl.fewshot.memory.Memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchvision import transforms as T
from yacs.config import CfgNode as CN

from dassl.data import DataManager
from simnl.clip.model import FrozenCLIP
from simnl.clip.prompts import check_class_prompts, encode_prompt_sets
from simnl.clip.store import FeatureStore
from simnl.clip.text import PromptFeatures
from simnl.fewshot.description import FEATURES
from simnl.fewshot.inputs import load_backbone, open_store


class Sources:
    """The sources of a run, which its config names.

    Attributes:
        writes_log: whether TensorBoard's log is written into the run's folder.
    """

    writes_log: bool = True

    def data(self, cfg: CN) -> Any:
        """An object with the data set (`dataset`), `num_classes` and `lab2cname`, like the engine's `DataManager`."""
        return DataManager(cfg, T.ToTensor(), T.ToTensor())

    def clip(self, cfg: CN, device: torch.device, takes: str = FEATURES) -> FrozenCLIP:
        """The frozen model. `takes` is as for `load_backbone`."""
        return load_backbone(cfg.MODEL.BACKBONE, device, takes)

    def store(self, cfg: CN, clip: FrozenCLIP) -> FeatureStore:
        """The store that gives the features of images and of texts."""
        return open_store(cfg, clip, progress=cfg.VERBOSE)

    def check_prompts(self, trainer: Any) -> None:
        """Name, or refuse, classes that no prompt tells apart; see `check_class_prompts`."""
        learned, used = not trainer.text_features_cached, "template" in trainer.prompt_sets_of(trainer.node)
        names, dataset = trainer.classnames, trainer.dm.dataset
        check_class_prompts(trainer.cfg, dataset, trainer.clip, names, learned=learned, used=used)

    def prompts(self, trainer: Any, dataset, classnames: Sequence[str], cfg: CN) -> dict[str, PromptFeatures]:
        """Raw text features of the prompt sets that a method needs, and of optional ones that are at hand, for the
        classes of a data set.

        cfg: the config of the run, or one with the prompts of that data set.
        """
        needed, optional = trainer.prompt_sets_of(trainer.node), trainer.optional_prompt_sets
        return encode_prompt_sets(cfg, dataset, classnames, trainer.store, needed, optional)

    def epoch_done(self) -> None:
        """Called after each epoch of training."""
