"""`ImageFolder`, the data set for any folder of class folders, so that a user's own images need no code."""

from __future__ import annotations

import hashlib
import logging
import shlex
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from simnl.commands import as_typed
from simnl.data.base import FILES, NEW_SPLIT_SEED, FewShotDataset
from simnl.data.classnames import find_alike, read_names
from simnl.data.duplicates import Shared, find_shared, in_words, remembered_digests
from simnl.data.listing import (
    IMAGE_SUFFIXES,
    describe,
    find_folder,
    list_folders,
    list_images,
    list_others,
    no_folder,
    some,
)
from simnl.data.splits import GENERATED, PARTS, Item, Split, check_items, make_split, read_split, write_split
from simnl.files import digests_of
from simnl.sealed import parse_json

logger = logging.getLogger(__name__)

CLASSNAMES_FILE = "classnames.txt"
TEMPLATE_FILES = {"POSITIVE": "templates.txt", "NEGATIVE": "negative_templates.txt"}
PART_NAMES = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")  # as people name parts


@DATASET_REGISTRY.register()
class ImageFolder(FewShotDataset):
    """DATASET.FOLDER (absolute, or below DATASET.ROOT or the current folder), laid out in one of two ways:

      <folder>/<class>/*.jpg                   split once, by DATASET.VAL_FRACTION and TEST_FRACTION;
                                               stored as <folder>/split.json or as DATASET.SPLIT_FILE says
      <folder>/{train,val,test}/<class>/*.jpg  taken as they are; val/ may be absent

    An optional <folder>/classnames.txt gives class names, one `folder, name` per line; the folder's name is the
    default.
    """

    split_file = "split.json"
    own_names = True

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        self.shared = self._find_shared(cfg)

    @classmethod
    def place(cls, cfg) -> Path:
        """The folder that DATASET.FOLDER names."""
        return folder_of(cfg) if cfg.DATASET.FOLDER else super().place(cfg)

    @classmethod
    def identity(cls, cfg) -> dict[str, str]:
        """Digests of the files that the config names, and of everything in the folder that decides labels and parts."""
        named = {f"DATASET.{key}": Path(cfg.DATASET[key]).expanduser() for key in FILES if cfg.DATASET[key]}
        sums, split, root = digests_of(named), named.get("DATASET.SPLIT_FILE"), cls.place(cfg)
        if cfg.DATASET.FOLDER and root.is_dir():
            sums["DATASET.FOLDER"] = content_digest(root)
            if split and (not split.is_file() or made_here(split.read_bytes())):
                sums["DATASET.SPLIT_FILE"] = "made here"  # it follows from the other digests
        return sums

    @classmethod
    def template_files(cls, cfg) -> dict[str, Path]:
        """`templates.txt` and `negative_templates.txt` in the folder, if they exist."""
        if not cfg.DATASET.FOLDER:
            return {}
        files = {sign: cls.place(cfg) / name for sign, name in TEMPLATE_FILES.items()}
        return {sign: path for sign, path in files.items() if path.is_file()}

    def find_root(self, cfg) -> Path:
        """The folder that DATASET.FOLDER names."""
        if not cfg.DATASET.FOLDER:
            raise ValueError(
                "ImageFolder needs DATASET.FOLDER. Set it to a folder of class folders: absolute, below DATASET.ROOT, "
                "or below the current folder."
            )
        root = folder_of(cfg)
        if not root.is_dir():
            missing = no_folder(cfg.DATASET.FOLDER, cfg.DATASET.ROOT)
            raise FileNotFoundError(self.help(f"{missing} (DATASET.FOLDER)", root))
        return root

    def load_split(self, cfg) -> Split:
        """The three folders, the stored split, or a new one, which is then stored."""
        folders = list_folders(self.root)
        if has_parts(folders) and not cfg.DATASET.SPLIT_FILE:
            return self._three_folders(folders)
        path = self.split_path(cfg)
        if not path.is_file():
            if not folders:
                raise FileNotFoundError(self.help(f"there is no class folder in {self.root}", self.root))
            self._store_new_split(cfg, path, folders)
        split = read_split(path, val_required=False)
        if split.how:
            self._warn_where_stale(cfg, split, folders)
        return split

    def names_file(self, cfg) -> Path | None:
        """DATASET.CLASSNAMES_FILE, else `classnames.txt` in the folder, if there is one."""
        own = self.root / CLASSNAMES_FILE
        return super().names_file(cfg) or (own if own.is_file() else None)

    def name_classes(self, split: Split, cfg) -> Split:
        """Name the classes as the base class does, and refuse names that prompts spell alike."""
        named = super().name_classes(split, cfg)
        self._check_names(named.classnames)
        return named

    def _check_names(self, names: list[str]) -> None:
        alike = find_alike(names)
        if alike:
            raise ValueError(
                f"ImageFolder: prompts spell names of classes in {self.root} alike, so that they could not differ: "
                f"{some(' = '.join(map(repr, group)) for group in alike)}. Rename a folder, put the images of one "
                f"class into one folder, or give each class a name of its own in {CLASSNAMES_FILE}."
            )

    def _store_new_split(self, cfg, path: Path, folders: list[str]) -> None:
        val, test = cfg.DATASET.VAL_FRACTION, cfg.DATASET.TEST_FRACTION
        classes = [(folder, self._images(folder)) for folder in folders]
        names = self.names_file(cfg)
        self._check_names(list(read_names(names, folders).values()) if names else folders)
        split = make_split(str(self.root), classes, NEW_SPLIT_SEED, val, test)
        try:
            write_split(path, split)
        except OSError as error:
            raise PermissionError(
                f"ImageFolder: the new split cannot be written to {path} ({error}). If the folder is "
                "read-only, set DATASET.SPLIT_FILE to a file elsewhere."
            ) from error

    def _warn_where_stale(self, cfg, split: Split, folders: list[str]) -> None:
        """Warn if images or fractions have changed since the split was stored. The stored split stays in use."""
        known = {item.path for part in PARTS for item in getattr(split, part) or ()}
        loose = list_images(self.root)
        if loose:
            logger.warning("%s: images outside of class folders are left out: %s", self.root, some(loose))
        new = [path for folder in folders for path in self._images(folder) if path not in known]
        if new:
            logger.warning("%d images are not in %s and are left out: %s", len(new), split.source, some(new))
        for key in ("val_fraction", "test_fraction"):
            asked = cfg.DATASET[key.upper()]
            if split.how.get(key) != asked:
                logger.warning(
                    "%s was made with %s %s, so %s is not used. Delete this file to make a new split.",
                    split.source, key, split.how.get(key), asked,
                )  # fmt: skip

    def _find_shared(self, cfg) -> Shared:
        """Images in use that are in two parts, with a warning. The feature store needs their digests anyway."""
        parts = {"train": self.train_x or (), "val": self.val or (), "test": self.test or ()}
        paths = {part: [datum.impath for datum in datums] for part, datums in parts.items()}
        shared = find_shared(paths, remembered_digests(Path(cfg.STORE.ROOT).expanduser(), self.root.name))
        if shared:
            logger.warning(
                "%s: %s. An image in two parts makes figures too good. Remove one of each pair, and also %s if this "
                "program made it, and run again. `%s` finds all pairs.",
                self.root,
                in_words(shared, self.root),
                self.split_path(cfg).name,
                as_typed(f"python tools/check_data.py --folder {shlex.quote(str(self.root))}"),
            )
        return shared

    def _three_folders(self, folders: list[str]) -> Split:
        absent = sorted({"train", "test"} - set(folders))
        if absent:
            raise FileNotFoundError(
                self.help(f"there is no {' and no '.join(absent)} folder", self.root)
                + f" Add it, or move the class folders up into {self.root}, where the program splits them."
            )
        classes = list_folders(self.root / "train")
        if not classes:
            raise FileNotFoundError(self.help(f"no class folder is in {self.root / 'train'}", self.root / "train"))
        parts = {part: self._part(part, classes) for part in PARTS if part in folders}
        check_items(str(self.root), parts)
        return Split(parts["train"], parts.get("val"), parts["test"], source=str(self.root), listed=True)

    def _part(self, part: str, classes: list[str]) -> list[Item]:
        found = list_folders(self.root / part)
        unknown = sorted(set(found) - set(classes))
        if unknown or not found:
            problem = f"train/ has no folder for {some(unknown)}" if unknown else "there is no class folder"
            raise ValueError(f"ImageFolder: {self.root / part}: {problem}.")
        return [Item(path, classes.index(name), name) for name in found for path in self._images(f"{part}/{name}")]

    def _images(self, folder: str) -> list[str]:
        images = list_images(self.root / folder)
        inside = list_folders(self.root / folder)
        if not images:
            advice = self._advice(folder) if inside else f"Images end in {', '.join(IMAGE_SUFFIXES)}. Convert others."
            raise FileNotFoundError(
                f"ImageFolder: there is no image in a class folder ({describe(self.root / folder)}). {advice}"
            )
        if inside:
            logger.warning("%s: folders in a class folder are left out: %s", self.root / folder, some(inside))
        others = list_others(self.root / folder)
        if others:
            logger.warning(
                "%s: files without the ending of an image are left out: %s", self.root / folder, some(others)
            )
        return [f"{folder}/{image}" for image in images]

    def _advice(self, folder: str) -> str:
        """What to do if a class folder holds folders instead of images."""
        others = list_folders(self.root)
        if others == [folder]:
            return f"If its folders are the classes, set DATASET.FOLDER to {self.root / folder}"
        odd = [name for name in others if name not in PARTS and name.lower() in PART_NAMES]
        if odd:
            return f"Folders of parts must be called train, val and test. Rename {some(odd)}."
        return "Put a class's images into its folder directly, or list them in a json split (docs/your_own_data.md)."


def has_parts(folders: list[str]) -> bool:
    """Whether the folders of a user are parts (train, val, test) instead of classes."""
    return bool(folders) and set(folders) <= set(PARTS)


def folder_of(cfg) -> Path:
    """The folder of the user's own images, which DATASET.FOLDER names; see `places_of`."""
    return find_folder(cfg.DATASET.FOLDER, cfg.DATASET.ROOT)


def content_digest(root: Path) -> str:
    """SHA-256 of everything that decides labels and parts of the user's own images: names of class folders and images,
    `classnames.txt`, and a `split.json` that the user wrote (one by this program follows from the rest)."""
    digest = hashlib.sha256()
    for above in (root, *(root / part for part in PARTS if (root / part).is_dir())):
        for folder in list_folders(above):
            digest.update(f"{above.name}/{folder}\n".encode(errors="surrogateescape"))
            for name in list_images(above / folder):
                digest.update(f"{name}\n".encode(errors="surrogateescape"))
    for name in (CLASSNAMES_FILE, ImageFolder.split_file):
        if (root / name).is_file():
            content = (root / name).read_bytes()
            digest.update(b"" if name == ImageFolder.split_file and made_here(content) else content)
    return digest.hexdigest()


def made_here(content: bytes) -> bool:
    """Whether this program wrote a split file; the file then says how it was made."""
    try:
        split = parse_json(content, ImageFolder.split_file)
    except ValueError:
        return False
    return isinstance(split, dict) and GENERATED in split
