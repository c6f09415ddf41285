"""The wrong labels of a data set's training and selection images; a base of `FewShotDataset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import DatasetBase, Datum
from simnl.data.classnames import as_read
from simnl.data.noise import CONFUSABLE, FOREIGN, Noise, confused, noisy_selection
from simnl.data.splits import Item
from simnl.sealed import DamagedError, read_json


class WrongLabels(DatasetBase):
    """A data set with the wrong labels of DATASET.LABEL_NOISE, NOISE_RULE and NOISY_SELECTION.

    Most rules are part of the draw (`noise_of_draw`). For the rule `confusable`, the classes that are easy to confuse
    are given later, when they are known (`confuse`).
    """

    cfg: Any
    image_root: Path
    interleaved_noise: bool
    clean_labels: list[int]
    _kept: dict[int, int]
    _names: list[str]
    _others: tuple[int, ...] = ()

    def noise_of_draw(self) -> Noise | None:
        """The noise of the draw of training images; None if all labels are right, or are changed later."""
        noise = self._noise(tuple(self._kept))
        return None if noise is None or noise.rule == CONFUSABLE else noise

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
        right = [
            self._with_label(item, label) for item, label in zip(self.train_x or [], self.clean_labels, strict=True)
        ]
        self._train_x = self._confused(right)

    def _confused(self, items: list[Datum]) -> list[Datum]:
        """The images with the labels of the rule `confusable`, if it is in use and the pairs are known."""
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
        paths = [Path(item.impath).relative_to(self.image_root).as_posix() for item in items]
        rows = [Item(path, item.label, item.classname) for path, item in zip(paths, items, strict=True)]
        labels = noisy_selection(rows, noise, self._others, f"{self.cfg.SEED}/{part}/{noise.rule}")
        return [self._with_label(item, label) for item, label in zip(items, labels, strict=True)]

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
