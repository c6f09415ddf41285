"""The examples that a classifier learns from, and those that it selects on, as the trainer's data set."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data
from torch import Tensor

from simnl.classifier import inputs
from simnl.escaping import shortened
from simnl.fewshot.memory import Item, MemoryDataset

HELD_SHOT = "held-shot"  # a protocol of runs: a first training chooses on the last example of each class


@dataclass(frozen=True)
class Examples:
    """Pictures or features with labels.

    Attributes:
        paths: the paths of pictures, or None; features: raw features (N, D) float32, or None.
        labels: positions among the sorted classes, (N,).
    """

    paths: list[str] | None
    features: Tensor | None
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: np.ndarray) -> Examples:
        """The examples that are chosen, (N,) bool."""
        paths = None if self.paths is None else [path for path, is_in in zip(self.paths, chosen, strict=True) if is_in]
        features = None if self.features is None else self.features[torch.from_numpy(chosen)]
        return Examples(paths, features, self.labels[chosen])

    def shots(self) -> int:
        """K, the number of examples of the largest class."""
        return int(np.bincount(self.labels).max())

    def items(self, names: Sequence[str], first: int = 0) -> list[Item]:
        """The items of a data set; rows of features are numbered from `first`."""
        keys = self.paths or [str(first + row) for row in range(len(self))]
        return [Item(key, int(label), names[label]) for key, label in zip(keys, self.labels, strict=True)]


def read_examples(estimator: Any, x: Any, y: Any, folder: Path) -> tuple[Examples, np.ndarray]:
    """X and y of `fit`, and the sorted classes. PIL images are written into `folder`.

    Raises:
        ValueError: scikit-learn refuses the input, or there is only one class. TypeError, FileNotFoundError: X holds
            something else than pictures or features.
    """
    is_pictures = inputs.is_pictures(x)
    if is_pictures:
        paths, features, y = inputs.in_files(inputs.as_pictures(x), folder), None, checked_labels(y, len(x), "y")
    else:
        x, y = validate_data(estimator, inputs.as_array(x), y, dtype=np.float32, copy=True)
        paths, features, y = None, torch.from_numpy(x), checked_labels(y, len(x), "y")
    check_classification_targets(y)
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y has one class, {classes.tolist()[0]!r}, but two or more are needed.")
    return Examples(paths, features, labels), classes


def checked_labels(y: Any, number: int, name: str) -> np.ndarray:
    """Labels as an array (N,).

    Raises:
        ValueError: there are no labels, more or fewer than examples, a text in the place of a list, NaN or a table.
    """
    if y is None:
        raise ValueError(f"FewShotClassifier requires {name} to be passed, but the target y is None.")
    if isinstance(y, str):
        raise ValueError(f"{name} is the single text {shortened(y)!r}. Give a list with one label per example.")
    y = check_array(y, ensure_2d=False, dtype=None, input_name=name, ensure_min_samples=0)
    if len(y) != number:
        raise ValueError(f"{name} has {len(y)} labels, but there are {number} examples, which need one each.")
    return column_or_1d(y, warn=True)


def divide(
    examples: Examples, validation: Any, classes: np.ndarray, names: Sequence[str], seed: int, folder: Path
) -> tuple[Examples, Examples | None, str]:
    """Divide the examples into those to learn from and those to select on, and name the protocol.

    Raises:
        ValueError: `validation` has a wrong kind, or does not fit X and y. The message says what is wrong.
    """
    if validation is None:
        return examples, None, "no-val"
    if isinstance(validation, str) and validation == HELD_SHOT:
        return examples, None, HELD_SHOT
    if isinstance(validation, numbers.Real) and not isinstance(validation, bool):  # numpy's numbers are Real, too
        out = inputs.held_out(examples.labels, float(validation), names, seed)
        return examples.part(~out), examples.part(out), "fewshot-val"
    if not (isinstance(validation, tuple | list) and len(validation) == 2):
        raise ValueError(f"validation must be None, a pair (X, y), a share between 0 and 1, or '{HELD_SHOT}'.")
    return examples, _given(examples, validation[0], validation[1], classes, folder), "full-val"


def _given(examples: Examples, x: Any, y: Any, classes: np.ndarray, folder: Path) -> Examples:
    name = "X of validation"
    if inputs.is_pictures(x) != (examples.features is None):
        raise ValueError(f"{name} must be of the same kind as X, which is either pictures or features.")
    if examples.features is None:
        folder = folder / "validation"
        folder.mkdir()
        paths, features = inputs.in_files(inputs.as_pictures(x, name), folder), None
    else:
        x = check_array(inputs.as_array(x), dtype=np.float32, copy=True, input_name=name)
        if x.shape[1] != examples.features.shape[1]:
            raise ValueError(f"{name} has {x.shape[1]} columns, but X has {examples.features.shape[1]}.")
        paths, features = None, torch.from_numpy(x)
    y = checked_labels(y, len(x), "y of validation")
    return Examples(paths, features, inputs.label_numbers(y, classes, "y of validation"))


def dataset_of(train: Examples, val: Examples | None, names: Sequence[str]) -> tuple[MemoryDataset, Tensor | None]:
    """The trainer's data set, and the features of its items."""
    dataset = MemoryDataset(train.items(names), val.items(names, len(train)) if val else None)
    if train.features is None:
        return dataset, None
    return dataset, torch.cat([train.features, val.features]) if val and val.features is not None else train.features
