"""`FewShotDataset`, the base class of all data sets. A data set only declares what is particular to it.

Labels, splits and draws equal those of CoOp (Zhou et al., IJCV 2022) image for image; see `splits` and `draws`.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dassl.data.datasets import Datum
from simnl.commands import as_typed
from simnl.data.classnames import read_names
from simnl.data.datums import datums
from simnl.data.draws import Draw, DrawSpec, DrawStore, labels_of_all
from simnl.data.listing import describe, find_missing, find_namesake, list_folders, list_images, some
from simnl.data.splits import PARTS, Item, Split, make_split, read_split, write_split
from simnl.data.wrong_labels import WrongLabels
from simnl.files import HOUR, digests_of, remove_left_overs

logger = logging.getLogger(__name__)

NEW_SPLIT_SEED = 1  # not cfg.SEED, because runs with other seeds must have the same test images
NEW_SPLIT_VAL, NEW_SPLIT_TEST = 0.2, 0.3
FILES = ("SPLIT_FILE", "CLASSNAMES_FILE", "NOISE_PAIRS")  # keys of DATASET that name files


@dataclass(frozen=True)
class Sizes:
    """Published numbers of classes and images (the paper's Table C4); 0 where there is no such part."""

    classes: int
    train: int
    val: int
    test: int

    def __str__(self) -> str:
        return f"{self.classes:,} classes, {self.train:,} training, {self.val:,} validation, {self.test:,} test images"


class FewShotDataset(WrongLabels):
    """A data set with few-shot training draws.

    A subclass declares the attributes below. If its labels or its split come from elsewhere, it overrides `load_split`
    (any source of `Item`s), `list_classes` (the classes and images for a new random split) or `find_root`.

    Attributes of an instance, besides those of `DatasetBase`:
      train_x       K-shot training images in CoOp's order, or the whole training part if NUM_SHOTS < 1
      val           the validation draw of min(K, 4) per class; None if there is none
      test          test images
      full_val      the whole validation part, or None
      clean_labels  true labels of `train_x`, which differ from its labels only under LABEL_NOISE
      root          the data set's folder
      split_hash, split_origin   sha256 of the split's content; "standard" or "generated"
      class_indices  columns of the ImageNet logits for the labels; None for all columns in order
    """

    config_name = ""  # the name of its yaml, and its name in commands
    dataset_dir = ""  # the folder below DATASET.ROOT
    image_dir = "."  # the image folder below it; paths of a split are relative to this folder
    split_file = ""  # the split file, in `dataset_dir`
    label_files: Sequence[str] = ()  # files with labels and parts, hashed for runs; empty: `split_file`
    published: Sizes | None = None
    source = ""  # the address from which a person gets the data
    bundled_dir: Path | None = None  # the folder of bundled prompt files
    eval_only = False  # True if there are test images only
    has_val = True  # False if validation images come from the training part
    ignored_folders: Sequence[str] = ()  # folders that are not classes
    renames: dict[str, str] = {}  # class folder -> class name, if they differ
    own_names = False  # True if the user chose the class names; published ones may be equal
    interleaved_noise = False  # True if PRESET official draws label noise with the images

    def __init__(self, cfg) -> None:
        self.cfg = cfg
        self.class_indices: list[int] | None = None
        self.root = self.find_root(cfg)
        self.image_root = self.root / self.image_dir
        if not self.image_root.is_dir():
            raise FileNotFoundError(self.help(f"there is no image folder {self.image_root}", self.image_root))
        self._split = self.name_classes(self.load_split(cfg), cfg)
        self.split_hash = self._split.sha256
        self.split_origin = self._split.origin
        self._compare_with_published()
        names = self._split.classnames
        subsample = "all" if self.eval_only else cfg.DATASET.SUBSAMPLE_CLASSES
        self._kept = {old: new for new, old in enumerate(subset_labels(len(names), subsample))}
        self._names = [names[old] for old in self._kept]
        self._full_val: list[Datum] | None = None
        super().__init__(**self._parts(cfg))

    def _parts(self, cfg) -> dict[str, list[Datum] | None]:
        test = self._datums(self._split.test)
        if self.eval_only:
            self.clean_labels = [datum.label for datum in test]
            return {"train_x": test, "val": None, "test": test}
        drawn = self._drawn(cfg.SEED, self._split)
        self._warn_of_thin_classes(cfg)
        self.clean_labels = [self._kept[item.label] for item in drawn.train if item.label in self._kept]
        train = self._datums(drawn.train, drawn.labels)
        return {"train_x": train, "val": self._datums(drawn.val) or None, "test": test}

    # ------------------------------------------------------------------------------------ for users
    @property
    def num_classes(self) -> int:
        """The number of classes, also of classes that label noise left without a training image."""
        return len(self._names)

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class name by label."""
        return dict(enumerate(self._names))

    @property
    def classnames(self) -> list[str]:
        """Class names in label order."""
        return list(self._names)

    @property
    def full_val(self) -> list[Datum] | None:
        """The whole validation part, whose images are checked now; None if there is none."""
        if self._split.val is None or self.eval_only:
            return None
        if self._full_val is None:
            self._full_val = self._datums(self._split.val)
        return self._full_val

    def draw_train(self, seed: int) -> list[Datum]:
        """The K-shot training draw of another seed, with the same rules, classes and label noise.

        Images of the training part on which the run selects are not drawn.
        """
        if self.eval_only:
            raise ValueError(f"{type(self).__name__} has only test images, so none can be drawn for training.")
        split = self._split
        if split.val is None and self.cfg.PROTOCOL == "fewshot-val":
            selected = {item.path for item in self._drawn(self.cfg.SEED, split).val}
            split = replace(split, train=[item for item in split.train if item.path not in selected])
        drawn = self._drawn(seed, split)
        return self._confused(self._datums(drawn.train, drawn.labels))

    # --------------------------------------------------------------------- known before it is read
    @classmethod
    def place(cls, cfg) -> Path:
        """The folder in which the data set lies, or would lie."""
        top = Path(cfg.DATASET.ROOT).expanduser()
        below = top / cls.dataset_dir
        return below if below.is_dir() else top

    @classmethod
    def identity(cls, cfg) -> dict[str, str]:
        """SHA-256 (hex), by config key, of the files with labels, parts and names. The name of a run depends on it."""
        given = {f"DATASET.{key}": cfg.DATASET[key] for key in FILES if cfg.DATASET[key]}
        files = {key: Path(path).expanduser() for key, path in given.items()}
        if not cfg.DATASET.SPLIT_FILE:
            own = cls.label_files or [cls.split_file]
            files |= {f"DATASET.ROOT/{name}": cls.place(cfg) / name for name in own if name}
        return digests_of(files)

    @classmethod
    def template_files(cls, cfg) -> dict[str, Path]:
        """Text files of prompt templates that lie beside the images: POSITIVE or NEGATIVE -> path."""
        return {}

    @classmethod
    def prompt_folders(cls, cfg) -> list[Path]:
        """Folders, besides those of the data root, in which the CuPL file may lie."""
        return [*([cls.bundled_dir] if cls.bundled_dir else []), cls.place(cfg)]

    # ------------------------------------------------------------------------------- for subclasses
    def find_root(self, cfg) -> Path:
        """`<DATASET.ROOT>/<dataset_dir>`, or DATASET.ROOT itself if it is the folder of the data set."""
        if not cfg.DATASET.ROOT:
            raise ValueError(f"DATASET.ROOT is empty. Name the folder that holds {self.dataset_dir}/ (--root FOLDER).")
        top = Path(os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT)))
        root = top / self.dataset_dir
        if root.is_dir():
            return root
        own_files = [name for name in (self.image_dir, self.split_file) if name and name != "."]
        if top.name == self.dataset_dir or (self.split_file and all((top / name).exists() for name in own_files)):
            return top
        raise FileNotFoundError(self.help(f"there is no folder {root}", top))

    def load_split(self, cfg) -> Split:
        """The standard split, or a new random one if it is missing and DATASET.NEW_SPLIT asks for it."""
        path = self.split_path(cfg)
        if path.is_file():
            return read_split(path, val_required=self.has_val)
        problem = self.help(f"there is no split file {path}", path.parent)
        if cfg.DATASET.SPLIT_FILE:
            raise FileNotFoundError(problem)
        if cfg.DATASET.NEW_SPLIT:
            return self.new_split(cfg)
        raise FileNotFoundError(
            f"{problem} (DATASET.NEW_SPLIT True makes a new random split, whose results cannot be compared.)"
        )

    def split_path(self, cfg) -> Path:
        """DATASET.SPLIT_FILE (relative to the working folder), or the default split file."""
        given = cfg.DATASET.SPLIT_FILE
        return Path(os.path.abspath(os.path.expanduser(given))) if given else self.root / self.split_file

    def names_file(self, cfg) -> Path | None:
        """The file of other class names, DATASET.CLASSNAMES_FILE; None for the data set's own names."""
        given = cfg.DATASET.CLASSNAMES_FILE
        return Path(os.path.abspath(os.path.expanduser(given))) if given else None

    def name_classes(self, split: Split, cfg) -> Split:
        """The split with the class names of `names_file`, if there is one."""
        path = self.names_file(cfg)
        if path is None:
            return split
        names = read_names(path, split.classnames)
        logger.info("%s: class names are read from %s.", type(self).__name__, path)
        parts: dict[str, Any] = {
            part: [item._replace(classname=names[item.classname]) for item in items]
            for part in PARTS
            if (items := getattr(split, part))
        }
        return replace(split, **parts)

    def new_split(self, cfg) -> Split:
        """A random 50/20/30 split of the images, which is always the same for the same images. It is stored."""
        made = make_split(str(self.image_root), self.list_classes(), NEW_SPLIT_SEED, NEW_SPLIT_VAL, NEW_SPLIT_TEST)
        name = f"{type(self).__name__}-{made.sha256[:12]}.json"
        path = Path(cfg.STORE.ROOT).expanduser() / "splits" / name
        remove_left_overs(path.parent, older_than=HOUR)
        if not _holds(path, made):
            write_split(path, made)
        logger.warning(
            "%s: a new random split is used (%s). Results cannot be compared with published ones.",
            type(self).__name__,
            path,
        )
        return replace(made, source=str(path))

    def list_classes(self) -> list[tuple[str, list[str]]]:
        """(class name, image paths) in label order, from the class folders, for a new split."""
        folders = [name for name in list_folders(self.image_root) if name not in self.ignored_folders]
        return [
            (
                self.renames.get(folder, folder),
                [f"{folder}/{name}" for name in list_images(self.image_root / folder)],
            )
            for folder in folders
        ]

    def help(self, problem: str, folder: Path) -> str:
        """The text of an error: the problem, the content of `folder`, the source of the data, and what to run."""
        source = f" It comes from {self.source}." if self.source else ""
        root = shlex.quote(self.cfg.DATASET.ROOT or "ROOT")
        command = as_typed(f"python tools/prepare_data.py {self.config_name} --root {root}")
        advice = f" Run `{command}` to get it or to see what is missing." if self.config_name else ""
        return f"{type(self).__name__}: {problem} ({describe(folder)}).{source}{advice}"

    # ----------------------------------------------------------------------------------- inner work
    def _drawn(self, seed: int, split: Split) -> Draw:
        shots, noise = self.cfg.DATASET.NUM_SHOTS, self.noise_of_draw()
        if shots < 1:
            train = list(split.train)
            return Draw(train, labels_of_all(train, noise, seed), list(split.val or ()))
        store = DrawStore(Path(self.cfg.STORE.ROOT).expanduser(), type(self).__name__, split)
        return store.get(self.generate_fewshot_dataset, DrawSpec(shots, seed, noise))

    def _datums(self, items: Iterable[Item], labels: Iterable[int] | None = None) -> list[Datum]:
        """Datums of the items of the classes in use. `labels` (before relabelling) replace those of the items."""
        items = list(items)
        pairs = zip(items, [item.label for item in items] if labels is None else labels, strict=True)
        chosen = [(item.path, self._kept[label]) for item, label in pairs if item.label in self._kept]
        check = None if self._split.listed else self._require
        return datums(str(self.image_root), chosen, self._names, check)

    def _require(self, paths: list[str]) -> None:
        missing = find_missing(self.image_root, paths)
        if missing:
            folder, other = (self.image_root / missing[0]).parent, find_namesake(self.image_root, missing[0])
            renamed = f"; {other} is there, but names must be exactly equal, so rename such files" if other else ""
            raise FileNotFoundError(
                self.help(
                    f"{len(missing)} of {len(paths)} images that {self._split.source} lists are missing "
                    f"below {self.image_root}: {some(missing)}{renamed}",
                    folder,
                )
            )

    def _warn_of_thin_classes(self, cfg) -> None:
        """Warn of classes that have fewer training images than shots, or no test image."""
        have = {part: Counter(item.label for item in getattr(self._split, part)) for part in ("train", "test")}
        names = self._split.classnames
        short = [
            f"{names[label]} ({have['train'][label]})"
            for label in self._kept
            if have["train"][label] < cfg.DATASET.NUM_SHOTS
        ]
        if short:
            logger.warning(
                "%s: these classes have fewer than %d training images, all of which are used: %s",
                type(self).__name__,
                cfg.DATASET.NUM_SHOTS,
                some(short),
            )
        untested = [names[label] for label in self._kept if not have["test"][label]]
        if untested:
            logger.warning("%s: these classes have no test image: %s", type(self).__name__, some(untested))

    def _compare_with_published(self) -> None:
        split = self._split
        found = Sizes(len(split.classnames), *(len(getattr(split, part) or ()) for part in PARTS))
        if self.published is not None and self.split_origin == "standard" and found != self.published:
            logger.warning("%s: found %s; the published data set has %s.", type(self).__name__, found, self.published)


def _holds(path: Path, split: Split) -> bool:
    """Whether this split is stored already. Then nothing is written, and the disk may be read-only."""
    try:
        return read_split(path, val_required=False).sha256 == split.sha256
    except (OSError, ValueError):
        return False


def subset_labels(count: int, subsample: str) -> list[int]:
    """The labels that DATASET.SUBSAMPLE_CLASSES keeps: all, the first half (base, rounded up) or the others (new)."""
    half = math.ceil(count / 2)
    ranges = {"all": range(count), "base": range(half), "new": range(half, count)}
    if subsample not in ranges:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES must be all, base or new, not {subsample!r}.")
    if not ranges[subsample]:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {subsample!r}, which leaves none of the {count} classes.")
    return list(ranges[subsample])
