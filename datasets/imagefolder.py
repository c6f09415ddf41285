"""`ImageFolder`: any folder of class folders, so that one's own images need no code."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from .base import NEW_SPLIT_SEED, FewShotDataset
from .files import describe, list_folders, list_images, read_text, some
from .splits import PARTS, Item, Split, check_items, make_split, read_split, write_split

logger = logging.getLogger(__name__)

CLASSNAMES_FILE = "classnames.txt"


@DATASET_REGISTRY.register()
class ImageFolder(FewShotDataset):
    """DATASET.FOLDER (absolute, or below DATASET.ROOT), laid out in one of two ways:

      <folder>/<class>/*.jpg                   split once, by DATASET.VAL_FRACTION and TEST_FRACTION;
                                               stored as <folder>/split.json or as DATASET.SPLIT_FILE says
      <folder>/{train,val,test}/<class>/*.jpg  taken as they are; val/ may be absent

    An optional <folder>/classnames.txt gives class names, one `folder name` per line; the folder's name is
    the default.
    """

    split_file = "split.json"

    def find_root(self, cfg) -> Path:
        """The folder that DATASET.FOLDER names."""
        if not cfg.DATASET.FOLDER:
            raise ValueError(
                "ImageFolder needs DATASET.FOLDER: a folder of class folders, absolute or below DATASET.ROOT."
            )
        above, folder = (os.path.expanduser(path) for path in (cfg.DATASET.ROOT, cfg.DATASET.FOLDER))
        root = Path(os.path.abspath(os.path.join(above, folder)))
        if not root.is_dir():
            raise FileNotFoundError(self.help(f"no folder {root} (DATASET.FOLDER)", root))
        return root

    def load_split(self, cfg) -> Split:
        """The three folders, the stored split, or a new one, which is then stored."""
        folders = list_folders(self.root)
        if not folders:
            raise FileNotFoundError(self.help(f"no class folder in {self.root}", self.root))
        if set(folders) <= set(PARTS) and not cfg.DATASET.SPLIT_FILE:
            return self._three_folders(folders)
        path = self.split_path(cfg)
        if not path.is_file():
            self._store_new_split(cfg, path, folders)
        split = read_split(path, val_required=False)
        if split.how:
            self._warn_where_stale(cfg, split, folders)
        names = self._names(_folder(item) for part in (split.train, split.test) for item in part)
        parts = {
            part: [item._replace(classname=names.get(_folder(item), item.classname)) for item in items]
            for part in PARTS
            if (items := getattr(split, part))
        }
        return replace(split, **parts)

    def _store_new_split(self, cfg, path: Path, folders: list[str]) -> None:
        val, test = cfg.DATASET.VAL_FRACTION, cfg.DATASET.TEST_FRACTION
        classes = [(folder, self._images(folder)) for folder in folders]
        split = make_split(str(self.root), classes, NEW_SPLIT_SEED, val, test)
        try:
            write_split(path, split)
        except OSError as error:
            raise PermissionError(
                f"ImageFolder: the new split cannot be written to {path} ({error}). If the folder is "
                "read-only, set DATASET.SPLIT_FILE to a file elsewhere."
            ) from error

    def _warn_where_stale(self, cfg, split: Split, folders: list[str]) -> None:
        """A stored split stays as it is: say so where the images or the fractions asked for have changed."""
        known = {item.path for part in PARTS for item in getattr(split, part) or ()}
        new = [path for folder in folders for path in self._images(folder) if path not in known]
        if new:
            logger.warning("%d images are not in %s and are left out: %s", len(new), split.source, some(new))
        for key in ("val_fraction", "test_fraction"):
            asked = cfg.DATASET[key.upper()]
            if split.how.get(key) != asked:
                logger.warning("%s keeps its %s, %s, not %s.", split.source, key, split.how.get(key), asked)

    def _three_folders(self, folders: list[str]) -> Split:
        absent = sorted({"train", "test"} - set(folders))
        if absent:
            raise FileNotFoundError(self.help(f"no {' and no '.join(absent)} folder", self.root))
        classes = list_folders(self.root / "train")
        if not classes:
            raise FileNotFoundError(
                self.help(f"no class folder in {self.root / 'train'}", self.root / "train")
            )
        names = self._names(classes)
        parts = {part: self._part(part, classes, names) for part in PARTS if part in folders}
        check_items(str(self.root), parts)
        return Split(parts["train"], parts.get("val"), parts["test"], source=str(self.root), listed=True)

    def _part(self, part: str, classes: list[str], names: dict[str, str]) -> list[Item]:
        found = list_folders(self.root / part)
        unknown = sorted(set(found) - set(classes))
        if unknown or not found:
            problem = f"{some(unknown)} not in train/" if unknown else "no class folder"
            raise ValueError(f"ImageFolder: {self.root / part}: {problem}.")
        return [
            Item(path, classes.index(name), names.get(name, name))
            for name in found
            for path in self._images(f"{part}/{name}")
        ]

    def _images(self, folder: str) -> list[str]:
        images = list_images(self.root / folder)
        if not images:
            raise FileNotFoundError(
                f"ImageFolder: no image in the class folder ({describe(self.root / folder)})."
            )
        return [f"{folder}/{image}" for image in images]

    def _names(self, folders: Iterable[str]) -> dict[str, str]:
        """Class name by folder from `classnames.txt`. Folders may hold spaces; the longest fit counts."""
        path = self.root / CLASSNAMES_FILE
        if not path.is_file():
            return {}
        known = sorted(set(folders), key=len, reverse=True)
        names: dict[str, str] = {}
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if not line.strip():
                continue
            folder = next((name for name in known if line.startswith((f"{name} ", f"{name}\t"))), None)
            if folder is None or not line[len(folder) :].strip():
                raise ValueError(
                    f"{path}, line {number}: expected `folder name` with a class folder, found {line!r}."
                )
            if folder in names:
                raise ValueError(f"{path}, line {number}: {folder} was named before.")
            names[folder] = line[len(folder) :].strip()
        return names


def _folder(item: Item) -> str:
    """Name of the class folder that an image lies in."""
    return item.path.rpartition("/")[0].rpartition("/")[2]
