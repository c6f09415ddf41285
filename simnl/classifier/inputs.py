"""What a classifier is given: pictures (paths, PIL images) or features, labels, class names, text features."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.utils import check_array
from torch import Tensor

from simnl.clip.text import PromptFeatures
from simnl.data.images import to_rgb

TEXT_SETS = ("template", "negative", "cupl")
CLASS_MEANS = "class-means"
Picture = str | os.PathLike | Image.Image


def is_pictures(x: object) -> bool:
    """Whether X is a list of pictures, by its first element; anything else should be an array of features.

    Raises:
        TypeError: X is a single picture, has no order (a generator, a set, a dict), or holds arrays of pixels.
        ValueError: X is an empty list.
    """
    if isinstance(x, Picture):
        raise TypeError(f"X is a single picture ({_shown(x)}). Give a list of pictures.")
    if isinstance(x, Mapping | AbstractSet | Iterator) and not hasattr(x, "toarray"):  # of SciPy's sparse arrays
        raise TypeError(f"X has the type {type(x).__name__}. Give a list of pictures, or an array of features.")
    if isinstance(x, list | tuple) and not x:
        raise ValueError("X is empty. Give one picture or more, or an array of features (N, D).")
    if isinstance(x, Tensor) or not hasattr(x, "__getitem__") or not hasattr(x, "__len__") or hasattr(x, "columns"):
        return False
    if hasattr(x, "toarray") or (isinstance(x, np.ndarray) and x.ndim != 1):
        return False
    first = next(iter(x), None)  # type: ignore[call-overload]
    if isinstance(first, np.ndarray) and first.ndim > 1:
        raise TypeError("X holds arrays of pixels. Give paths or PIL images (PIL.Image.fromarray makes them).")
    return isinstance(first, Picture | bytes)


def as_pictures(x: Any, name: str = "X") -> list[Picture]:
    """A list of pictures, looked at one by one; files are looked for, and not opened.

    Raises:
        TypeError: something else is among them; FileNotFoundError: no such file. Both say which one.
    """
    pictures = list(x)
    for number, picture in enumerate(pictures):
        if not isinstance(picture, Picture):
            raise TypeError(f"{name}[{number}] has the type {type(picture).__name__}. Give paths or PIL images.")
        if not isinstance(picture, Image.Image) and not os.path.isfile(picture):
            raise FileNotFoundError(f"{name}[{number}] is {_shown(picture)}, but there is no such file.")
    return pictures


def as_array(x: Any) -> Any:
    """Features for scikit-learn's own checks: a tensor becomes a numpy array, anything else stays."""
    return x.detach().cpu().float().numpy() if isinstance(x, Tensor) else x


def in_files(pictures: Sequence[Picture], folder: Path, first: int = 0) -> list[str]:
    """Paths of pictures, which messages number from `first`; PIL images are written into `folder`, with no loss.

    Raises:
        ValueError: an image whose pixels cannot be told; says which one.
    """
    paths = []
    for number, picture in enumerate(pictures, first):
        if isinstance(picture, Image.Image):
            path = folder / f"{number}.ppm"
            try:
                to_rgb(picture).save(path)
            except (ValueError, OSError, SyntaxError) as error:
                raise ValueError(f"X[{number}], {_shown(picture)}, cannot be read: {error}.") from error
            paths.append(str(path))
        else:
            paths.append(os.path.abspath(os.fspath(picture)))
    return paths


def _shown(picture: Picture) -> str:
    if isinstance(picture, Image.Image):
        return f"a PIL image of {picture.width} x {picture.height}, mode {picture.mode}"
    return repr(os.fspath(picture))


# ---------------------------------------------------------------------------------------------------------- labels


def label_numbers(y: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """Position of each label among the sorted `classes`, (N,) int64.

    Raises:
        ValueError: a label that is none of them; says which.
    """
    unknown = [label for label in np.unique(y).tolist() if label not in classes.tolist()]
    if unknown:
        raise ValueError(f"{name} has the label {unknown[0]!r}, which is not a class, because y does not have it.")
    return np.searchsorted(classes, y)


def class_names(given: Any, classes: np.ndarray) -> list[str]:
    """The name of each class in the order of `classes`.

    Args:
        given: a name by label, or names in the order of `classes`, or None: the labels are the names.

    Raises:
        ValueError: names are missing or too many, or no words.
    """
    labels = classes.tolist()
    if given is None:
        return [str(label) for label in labels]
    if isinstance(given, Mapping):
        missing = [label for label in labels if label not in given]
        if missing:
            raise ValueError(f"classnames has no name for {len(missing)} of the labels, e.g. {missing[0]!r}.")
        names = [given[label] for label in labels]
    else:
        names = list(given) if not isinstance(given, str) else [given]
        if len(names) != len(labels):
            raise ValueError(f"classnames has {len(names)} names, but y has {len(labels)} classes ({labels[:3]}, ...).")
    odd = [name for name in names if not (isinstance(name, str) and name.strip())]
    if odd:
        raise ValueError(f"classnames must be words, but {odd[0]!r} is not one.")
    return [str(name) for name in names]


def require_words(given: Any, classes: np.ndarray, method: str) -> None:
    """Check that prompts can be made of the names of classes.

    Raises:
        ValueError: no names are given, and a label is not a word.
    """
    labels = classes.tolist()
    if given is None and not all(isinstance(label, str) and label.strip() for label in labels):
        shown = ", ".join(map(repr, labels[:3])) + (", ..." if len(labels) > 3 else "")
        raise ValueError(
            f"{method} reads the names of classes, but the labels are not words ({shown}). Give classnames={{label: "
            "name, ...}, or, for X of features, text_features."
        )


def held_out(labels: np.ndarray, share: float, names: Sequence[str], seed: int) -> np.ndarray:
    """The examples that are held out, a share of each class, (N,) bool: at least one of a class, and one stays.

    Raises:
        ValueError: a share that is none, or a class with a single example; says which.
    """
    if not 0 < share < 1:
        raise ValueError(f"validation is {share}, but a share must be above 0 and below 1.")
    generator, chosen = np.random.RandomState(seed), np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(names):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise ValueError(
                f"Class {name!r} has 1 example, so no share ({share}) of it can be held out for validation. Give it "
                "another example, or leave validation out."
            )
        number = min(len(rows) - 1, max(1, round(share * len(rows))))
        chosen[generator.permutation(rows)[:number]] = True
    return chosen


# ---------------------------------------------------------------------------------------------------- text features


def text_sets(given: Any, features: Tensor, labels: Tensor, num_classes: int) -> dict[str, PromptFeatures]:
    """Text features by prompt set.

    Args:
        given: `class-means`, an array (C, D) or (C, P, D), or a dict of such by the names of `TEXT_SETS`.
        features: the features of the training examples, (N, D); labels: (N,).
        num_classes: C.

    Raises:
        ValueError: another word, name or shape, or numbers that are NaN or infinite.
    """
    if isinstance(given, str):
        if given != CLASS_MEANS:
            raise ValueError(f"text_features is '{given}'. Give arrays, or '{CLASS_MEANS}'.")
        given = _class_means(features, labels, num_classes)
    if not isinstance(given, Mapping):
        given = {"template": given}
    unknown = [name for name in given if name not in TEXT_SETS]
    if unknown:
        raise ValueError(f"text_features has the key {unknown[0]!r}. Its keys are {', '.join(TEXT_SETS)}.")
    return {name: _text_set(value, name, num_classes, features.shape[1]) for name, value in given.items()}


def _class_means(features: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """The mean of the unit rows of each class in the place of its text, and that of all other classes' rows in the
    place of its negative text."""
    unit = F.normalize(features, dim=-1)
    sums = unit.new_zeros(num_classes, unit.shape[1]).index_add_(0, labels, unit)
    counts = torch.bincount(labels, minlength=num_classes)[:, None]
    return {"template": sums / counts, "negative": (sums.sum(0) - sums) / (len(labels) - counts)}


def _text_set(value: Any, name: str, num_classes: int, width: int) -> PromptFeatures:
    array = as_array(value)
    shape = np.shape(array)
    if len(shape) not in (2, 3) or shape[0] != num_classes or shape[-1] != width:
        raise ValueError(
            f"text_features of {name} prompts have the shape {shape}, but it must be (C, D) or (C, P, D) with "
            f"C = {num_classes} classes and the width D = {width} of X."
        )
    array = check_array(array, dtype=np.float32, allow_nd=True, copy=True, input_name=f"text_features ({name})")
    rows = torch.from_numpy(array).reshape(num_classes, -1, width)
    classes = torch.arange(num_classes).repeat_interleave(rows.shape[1])
    return PromptFeatures(rows.flatten(0, 1), classes)
