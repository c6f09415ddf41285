"""What a trained classifier keeps, and how it predicts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode as CN

from simnl.bars import bar
from simnl.classifier.inputs import Picture, in_files
from simnl.classifier.training import cache_root
from simnl.clip.batches import in_fixed_batches
from simnl.clip.finite import check_logits
from simnl.clip.model import FrozenCLIP
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.data.images import read_image
from simnl.fewshot.head import Head
from simnl.fewshot.memory import GIVEN, NO_TOWER
from simnl.fewshot.sources import Sources

ROWS = 256  # features that a head sees at once, always as many, so that a row is the same bits whatever the others are
PICTURES = 256  # held at once
PREFIX = "simnl-"  # of temporary folders


@dataclass
class Fitted:
    """A head, and the model whose features it takes.

    Attributes:
        cfg: of the training, frozen.
        head: in evaluation mode.
        device: where it lives.
        takes_pixels: whether the method changes the image tower.
        clip: the frozen model, which is left out of a pickle and loaded again where it is needed.
        arch: its architecture.
    """

    cfg: CN
    head: Head
    device: torch.device
    takes_pixels: bool
    arch: str
    clip: FrozenCLIP | None

    @classmethod
    def of(cls, trainer: Any) -> Fitted:
        """What a trainer has trained."""
        head = trainer.head.eval().requires_grad_(False)
        return cls(
            trainer.cfg, head, trainer.device, not trainer.image_encoder_frozen, trainer.clip.arch, trainer.clip
        )

    def __getstate__(self) -> dict:
        return self.__dict__ | {"clip": None}

    def of_features(self, features: Tensor) -> np.ndarray:
        """Logits (N, C) of raw features (N, D).

        Raises:
            ValueError: the head takes pictures.
        """
        if self.takes_pixels:
            raise ValueError(f"{self.cfg.TRAINER.NAME} changes the image tower: give pictures, not their features.")
        return self._logits(features, ROWS)

    def of_pictures(self, pictures: Sequence[Picture], cache: Any, workers: int, shown: bool) -> np.ndarray:
        """Logits (N, C) of pictures.

        Raises:
            ValueError: the head was trained on features of an unknown model.
        """
        if self.arch == GIVEN:
            raise ValueError(f"Pictures cannot be encoded: the features {NO_TOWER}")
        parts = [pictures[start : start + PICTURES] for start in range(0, len(pictures), PICTURES)]
        found = []
        with bar("Predicting", len(pictures), "picture", shown=shown, delay=0.5) as progress:
            for number, part in enumerate(parts):
                with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
                    paths = in_files(part, Path(folder), number * PICTURES)
                    found.append(self._of_files(paths, cache_root(cache, Path(folder)), workers))
                progress.update(len(part))
        return np.concatenate(found)

    def _of_files(self, paths: list[str], root: Path, workers: int) -> np.ndarray:
        clip = self._model()
        view = ViewSpec.test(clip.preprocess)
        if self.takes_pixels:
            transform = view.build()
            return self._logits(torch.stack([transform(read_image(path)) for path in paths]), clip.batch_rows)
        store = FeatureStore(root, clip, workers, progress=False)
        return self._logits(store.images(paths, view)[0], ROWS)

    def _model(self) -> FrozenCLIP:
        if self.clip is None:
            self.clip = Sources().clip(self.cfg, self.device)
        return self.clip

    @torch.no_grad()
    def _logits(self, rows: Tensor, size: int) -> np.ndarray:
        logits = in_fixed_batches(lambda part: self.head(part.to(self.device)).float().cpu(), rows, size)
        check_logits(logits, self.cfg.TRAINER.NAME)
        return logits.numpy()
