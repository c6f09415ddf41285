"""The state of a trained classifier, and its predictions."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simnl.bars import bar
from simnl.classifier.inputs import Picture, in_files
from simnl.classifier.isolation import undisturbed
from simnl.classifier.training import cache_root
from simnl.clip.batches import in_fixed_batches
from simnl.clip.finite import check_logits
from simnl.clip.model import BATCH_ROWS, FrozenCLIP
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.data.images import read_image
from simnl.fewshot import head_file
from simnl.fewshot.description import FEATURES, PIXELS, HeadDescription, describe
from simnl.fewshot.head_file import LoadedHead
from simnl.fewshot.memory import GIVEN, NO_TOWER
from simnl.files import check_target

PICTURES = 256  # pictures in memory at once
HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # the surrogates, such as those of a file name that is not UTF-8
PREFIX = "simnl-"  # prefix of the names of temporary folders


@dataclass
class Fitted:
    """A head, and the model whose features it takes.

    Attributes:
        loaded: the head, as if it came from a file.
        clip: the frozen model; None until it is needed. A pickle leaves it out.
        weights: a tag or path of its weights that replaces the one in the head's description.
    """

    loaded: LoadedHead
    clip: FrozenCLIP | None = None
    weights: str = ""

    @classmethod
    def of(cls, trainer: Any, labels: Sequence[Any]) -> Fitted:
        """The result of a trainer. `labels` are those of the classes in the user's program."""
        head = trainer.head.deployed().to(trainer.device).eval().requires_grad_(False)
        about = replace(describe(trainer), labels=tuple(labels))
        return cls(LoadedHead(head, about, Path("The classifier"), trainer.device), trainer.clip)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"clip": None}

    @property
    def about(self) -> HeadDescription:
        """The description of the head."""
        return self.loaded.about

    def save(self, path: Path) -> None:
        """Write a head file.

        Raises:
            ValueError: labels that a file cannot hold; OSError: the file cannot be written.
        """
        check_target(path, head_file.FILE)
        odd = [label for label in self.about.labels if not isinstance(label, str | int | float)]
        if odd:
            raise ValueError(f"The label {odd[0]!r} is neither a word nor a number, so a file cannot hold it.")
        halves = [label for label in self.about.labels if isinstance(label, str) and HALF_CHARACTER.search(label)]
        if halves:
            raise ValueError(f"The label {halves[0]!r} has half of a character, so a file cannot hold it. Rename it.")
        head_file.save(path, self.loaded.head, self.about)

    def of_features(self, features: Tensor) -> Tensor:
        """Raw features (N, D) in the form that the head takes.

        Raises:
            ValueError: the head takes pictures.
        """
        if self.about.takes != FEATURES:
            raise ValueError(f"{self.about.method} changes the image tower: give pictures, not their features.")
        return features

    def of_pictures(self, pictures: Sequence[Picture], cache: Any, workers: int, shown: bool) -> Iterator[Tensor]:
        """The inputs of the head for pictures, (n, D) or (n, 3, H, W), part by part.

        Raises:
            ValueError: the head was trained on features of an unknown model.
        """
        if self.about.backbone.arch == GIVEN:
            raise ValueError(f"Pictures cannot be encoded: the features {NO_TOWER}")
        with bar("Predicting", len(pictures), "picture", shown=shown, delay=0.5) as progress:
            for start in range(0, len(pictures), PICTURES):
                part = pictures[start : start + PICTURES]
                with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
                    paths = in_files(part, Path(folder), start)
                    yield self._of_files(paths, cache_root(cache, Path(folder)), workers)
                progress.update(len(part))

    def _of_files(self, paths: list[str], root: Path, workers: int) -> Tensor:
        clip = self._model()
        view = ViewSpec.test(clip.preprocess)
        if self.about.takes == PIXELS:
            transform = view.build()
            return torch.stack([transform(read_image(path, view.decoder)) for path in paths])
        return FeatureStore(root, clip, workers, progress=False).images(paths, view)[0]

    def _model(self) -> FrozenCLIP:
        if self.clip is None:
            with undisturbed():
                self.clip = self.loaded.encoder(weights=self.weights).clip
        return self.clip

    def logits(self, rows: Tensor) -> np.ndarray:
        """Logits (n, C) of inputs of the head."""
        logits = in_fixed_batches(self.loaded.logits, rows, BATCH_ROWS)  # so a row's bits do not depend on the others
        check_logits(logits, self.about.method)
        return logits.numpy()

    def evidence(self, rows: Tensor) -> dict[str, np.ndarray]:
        """The terms of the logits by name, (n, C) each."""
        return {name: term.numpy() for name, term in self.loaded.evidence(rows).items()}
