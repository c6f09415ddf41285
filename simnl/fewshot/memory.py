"""Let a trainer learn from what is in memory: pictures by their paths, or features that were computed elsewhere.

`Memory` takes the place of `simnl.fewshot.sources.Sources`. The trainer, its loop, its selection and its search are the
same as in a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.data.datasets import DatasetBase
from simnl.bars import Bar
from simnl.clip.model import FrozenCLIP
from simnl.clip.prompts import encode_prompt_sets
from simnl.clip.store import FeatureStore
from simnl.clip.text import PromptFeatures
from simnl.clip.views import ViewSpec
from simnl.fewshot.description import FEATURES
from simnl.fewshot.sources import Sources

GIVEN = "given-features"  # the name of the architecture if the user gives features
NO_PICTURE = {"size": 1, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bicubic"}


@dataclass(frozen=True)
class Item:
    """One example with the attributes of Dassl's `Datum`. `impath` is a path, or the number of a feature row."""

    impath: str
    label: int
    classname: str
    domain: int = 0


class MemoryDataset(DatasetBase):
    """A data set in memory. It is not registered, so no config can name it.

    Args:
        train: the items to learn from, in any order, with at least one of each class.
        val: the items on which epochs and hyper-parameters are chosen, or None.
    """

    eval_only = False
    own_names = True  # so that two classes that prompts cannot tell apart are refused

    def __init__(self, train: Sequence[Item], val: Sequence[Item] | None = None):
        super().__init__(train_x=cast(Any, list(train)), val=cast(Any, list(val or [])) or None, test=[])
        self.clean_labels = [item.label for item in train]

    @property
    def full_val(self) -> list | None:
        """The items of `val`, all of which are in use."""
        return self.val

    def draw_train(self, seed: int) -> list:
        """Refuse to draw, because there are no other images.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "DATASET.TRAIN_DRAW is 'separate' (as with PRESET official), which trains on a second draw, but all "
            "training examples are given here. Set it to 'same'."
        )

    def prompt_folders(self, cfg: CN) -> list:
        """There is no folder with prompts."""
        return []


@dataclass(frozen=True)
class GivenFeatures(FrozenCLIP):
    """A stand-in for a frozen CLIP, without towers, for features of images and texts that the user gives."""

    @classmethod
    def of(cls, width: int, logit_scale: float, device: torch.device) -> GivenFeatures:
        """A stand-in with features of width D, whose cosines are multiplied by `logit_scale`."""
        return cls(
            model=cast(Any, None), arch=GIVEN, weights="none", precision="fp32", device=device, fingerprint="",
            preprocess=dict(NO_PICTURE), logit_scale=logit_scale, logit_bias=0.0, embed_dim=width, context_length=0,
        )  # fmt: skip

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Raise a ValueError, because there is no image tower."""
        raise ValueError(f"Pictures cannot be encoded: the features {NO_TOWER}")

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Raise a ValueError, because there is no text tower."""
        raise ValueError(f"Texts cannot be encoded: the features {NO_TOWER}")

    def tokenize(self, prompts: list[str]) -> Tensor:
        """Raise a ValueError, because there is no text tower."""
        raise ValueError(f"Texts cannot be encoded: the features {NO_TOWER}")


NO_TOWER = (
    "were given together with text_features, so that no CLIP was loaded. Name the backbone they come from instead."
)


class MemoryStore(FeatureStore):
    """A store of image features that the user gives. Text features are encoded and stored as in other stores.

    Args:
        features: raw, (M, D) float32; row i belongs to the item whose `impath` is str(i).
        others: the other arguments of `FeatureStore`.
    """

    def __init__(self, features: Tensor, *others: Any, **more: Any):
        super().__init__(*others, **more)
        self._features = features

    def images(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> Tensor:
        """(1, N, D) of the rows that `paths` name."""
        self._check_views(spec, views)
        return self._features[[int(path) for path in paths]][None]

    def warm(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> None:
        """Do nothing, because no feature is missing."""

    def stream(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> Iterator[Tensor]:
        """Yield all features at once."""
        yield self.images(paths, spec, views)


class Memory(Sources):
    """The sources of a classifier, which its user gives.

    Args:
        dataset: the examples.
        features: raw features (M, D) float32 of the items; None if the items are pictures.
        texts: raw text features by prompt set, in the place of prompts; None if the model encodes prompts.
        logit_scale: the factor of cosines, for a training without a CLIP; None to load the config's CLIP.

    Attributes:
        bar: the progress bar of the epochs, if there is one.
    """

    writes_log = False
    bar: Bar | None = None

    def __init__(
        self,
        dataset: MemoryDataset,
        features: Tensor | None = None,
        texts: Mapping[str, PromptFeatures] | None = None,
        logit_scale: float | None = None,
    ):
        self._dataset, self._features, self._texts, self._logit_scale = dataset, features, texts, logit_scale

    def data(self, cfg: CN) -> Any:
        """The data set without loaders, because the trainer makes its own."""
        d = self._dataset
        return SimpleNamespace(dataset=d, num_classes=d.num_classes, lab2cname=d.lab2cname)

    def clip(self, cfg: CN, device: torch.device, takes: str = FEATURES) -> FrozenCLIP:
        """The config's CLIP, or its stand-in.

        Raises:
            ValueError: the given features have another width.
        """
        if self._features is not None and self._logit_scale is not None:
            return GivenFeatures.of(self._features.shape[1], self._logit_scale, device)
        clip = super().clip(cfg, device, takes)
        if self._features is not None and self._features.shape[1] != clip.embed_dim:
            raise ValueError(
                f"X has {self._features.shape[1]} columns, but the features of {cfg.MODEL.BACKBONE.NAME} have "
                f"{clip.embed_dim}. Name the backbone that X comes from (backbone), or give text_features."
            )
        return clip

    def store(self, cfg: CN, clip: FrozenCLIP) -> FeatureStore:
        """The store of the given features, or that of pictures, which are encoded once."""
        if self._features is None:
            return super().store(cfg, clip)
        return MemoryStore(self._features, cfg.STORE.ROOT, clip, progress=cfg.VERBOSE)

    def check_prompts(self, trainer: Any) -> None:
        """Check the prompts as a run does, unless the user gives text features, which need no names."""
        if self._texts is None:
            super().check_prompts(trainer)

    def prompts(self, trainer: Any, dataset, classnames: Sequence[str], cfg: CN) -> dict[str, PromptFeatures]:
        """The text features that the user gives, or else those of prompts.

        Raises:
            ValueError: the method needs a set that is not given.
        """
        needed = trainer.prompt_sets_of(trainer.node)
        if self._texts is None:
            optional = trainer.optional_prompt_sets if cfg.PROMPTS.CUPL else ()  # else no CuPL sentences were given
            return encode_prompt_sets(cfg, dataset, classnames, trainer.store, needed, optional)
        missing = [name for name in needed if name not in self._texts]
        if missing:
            raise ValueError(
                f"{trainer.cfg.TRAINER.NAME} needs text features of {' and '.join(missing)} prompts, but text_features "
                f"has {', '.join(self._texts) or 'none'}. Give {{'{missing[0]}': array (C, D), ...}}."
            )
        return {name: self._texts[name] for name in (*needed, *trainer.optional_prompt_sets) if name in self._texts}

    def epoch_done(self) -> None:
        """Move the bar, if there is one."""
        if self.bar is not None:
            self.bar.update()
