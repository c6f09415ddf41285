"""The wrong labels of a data set's training and selection images; a base of `FewShotDataset`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import DatasetBase, Datum
from simnl.data.classnames import as_read
from simnl.data.noise import (
    AFTER_DRAW,
    CONFUSABLE,
    FOREIGN,
    INSTANCE,
    Floats,
    Noise,
    by_instance,
    confused,
    noisy_selection,
)
from simnl.data.splits import Item
from simnl.sealed import DamagedError, read_json


class WrongLabels(DatasetBase):
    """A data set with the wrong labels of DATASET.LABEL_NOISE, NOISE_RULE and NOISY_SELECTION.

    Most rules are part of the draw (`noise_of_draw`). Which classes are easy to confuse, for the rule `confusable`, is
    told once they are known (`confuse`), and so is what images look like, for the rule `instance` (`look_at`).
    """

    cfg: Any
    image_root: Path
    interleaved_noise: bool
    clean_labels: list[int]
    _kept: dict[int, int]
    _names: list[str]
    _others: tuple[int, ...] = ()
    _features: Callable[[Sequence[str]], Floats] | None = None

    def noise_of_draw(self) -> Noise | None:
        """The noise of the draw of training images; None if all labels are right, or are changed later."""
        noise = self._noise(tuple(self._kept))
        return None if noise is None or noise.rule in AFTER_DRAW else noise

    def _noise(self, labels: tuple[int, ...]) -> Noise | None:
        node = self.cfg.DATASET
        if not node.LABEL_NOISE:
            return None
        rule = node.NOISE_RULE
        if rule in FOREIGN and node.NUM_SHOTS < 1:
            raise ValueError(f"DATASET.NOISE_RULE {rule} draws its own images. Set DATASET.NUM_SHOTS to 1 or more.")
        interleaved = self.interleaved_noise and self.cfg.PRESET == "official" and node.NUM_SHOTS >= 1
        interleaved &= rule == "bernoulli"
        return Noise(node.LABEL_NOISE, 0 if interleaved else self.cfg.SEED, labels, interleaved, rule)

    def needs_confusions(self) -> bool:
        """Whether `confuse` must be called before a label is used."""
        node = self.cfg.DATASET
        return bool(node.LABEL_NOISE) and node.NOISE_RULE == CONFUSABLE and not self._others

    def needs_features(self) -> bool:
        """Whether `look_at` is to be called before a label is used."""
        node = self.cfg.DATASET
        return bool(node.LABEL_NOISE) and node.NOISE_RULE == INSTANCE and self._features is None

    def look_at(self, features: Callable[[Sequence[str]], Floats]) -> None:
        """Rule `instance`: training images get labels that follow from these features. paths -> unit rows (N, D)."""
        self._noise(tuple(range(len(self._names))))  # raises where the share or the number of classes is wrong
        self._features = features
        self._train_x = self._confused(self._right())

    def given_confusions(self) -> list[int] | None:
        """The other class of each class in the file DATASET.NOISE_PAIRS; None if no file is named.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not json of class -> other class, or a class is missing, unknown or paired with
                itself.
        """
        if not self.cfg.DATASET.NOISE_PAIRS:
            return None
        return read_pairs(Path(self.cfg.DATASET.NOISE_PAIRS).expanduser(), self._names)

    def confuse(self, others: Sequence[int]) -> None:
        """Rule `confusable`: give a share of the training images the class that `others` has for their own class."""
        self._noise(tuple(range(len(self._names))))  # raises an error if the share or the number of classes is wrong
        self._others = tuple(others)
        self._train_x = self._confused(self._right())

    def _right(self) -> list[Datum]:
        rows = zip(self.train_x or [], self.clean_labels, strict=True)
        return [self._with_label(item, label) for item, label in rows]

    def _confused(self, items: list[Datum]) -> list[Datum]:
        """The images with the labels of a rule that is no part of the draw, where what it needs is known."""
        if self._features is not None:
            return self._by_instance(items)
        if not self._others:
            return items
        key = f"{self.cfg.SEED}/{CONFUSABLE}"
        labels = confused([item.label for item in items], self._others, self.cfg.DATASET.LABEL_NOISE, key)
        return [self._with_label(item, label) for item, label in zip(items, labels, strict=True)]

    def for_selection(self, items: Sequence[Datum], part: str) -> list[Datum]:
        """Images to select on, with independently drawn wrong labels if DATASET.NOISY_SELECTION asks for them.

        `part` is the part of the data set; the draw is a function of it and of the seed.
        """
        noise = self._noise(tuple(range(len(self._names)))) if self.cfg.DATASET.NOISY_SELECTION else None
        if noise is None:
            return list(items)
        if self._features is not None:
            return self._by_instance(list(items))
        rows = [Item(path, item.label, item.classname) for path, item in zip(self._paths(items), items, strict=True)]
        labels = noisy_selection(rows, noise, self._others, f"{self.cfg.SEED}/{part}/{noise.rule}")
        return [self._with_label(item, label) for item, label in zip(items, labels, strict=True)]

    def _by_instance(self, items: list[Datum]) -> list[Datum]:
        if self._features is None or not items:
            return items
        features, own = self._features([item.impath for item in items]), [item.label for item in items]
        node = self.cfg.DATASET
        labels = by_instance(features, own, self._paths(items), len(self._names), node.LABEL_NOISE, self.cfg.SEED)
        return [self._with_label(item, label) for item, label in zip(items, labels, strict=True)]

    def _paths(self, items: Sequence[Datum]) -> list[str]:
        return [Path(item.impath).relative_to(self.image_root).as_posix() for item in items]

    def _with_label(self, item: Datum, label: int) -> Datum:
        return Datum(impath=item.impath, label=label, classname=self._names[label])


def read_pairs(path: Path, classnames: Sequence[str]) -> list[int]:
    """The number of the other class of each class, from json of class -> other class. Underscores count as spaces.

    Raises:
        FileNotFoundError, ValueError: see `WrongLabels.given_confusions`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"DATASET.NOISE_PAIRS: there is no file {path} with json of class -> other class.")
    try:
        table = read_json(path, "Write it again.")
    except DamagedError as error:
        raise ValueError(f"DATASET.NOISE_PAIRS: {error}") from error
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise ValueError(f"DATASET.NOISE_PAIRS: {path} must hold json of class -> other class.")
    number = {as_read(name): label for label, name in enumerate(classnames)}
    pairs = {as_read(name): as_read(other) for name, other in table.items()}
    for label, name in enumerate(classnames):
        other = pairs.get(as_read(name))
        if other not in number or number[other] == label:
            why = "has no pair" if other is None else f"is paired with '{other}', which is not another class"
            raise ValueError(f"DATASET.NOISE_PAIRS: in {path} the class '{name}' {why} of this data set.")
    return [number[pairs[as_read(name)]] for name in classnames]
