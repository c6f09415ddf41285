"""The base of the ImageNet family: folders named by WordNet id, and `classnames.txt`.

Names are looked up by WordNet id and never the other way round, because two names (missile, sunglasses) belong to two
classes each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simnl.data.base import FewShotDataset
from simnl.data.listing import list_folders, list_images, read_text, some
from simnl.data.splits import Item, Split

CLASSNAMES_FILE = "classnames.txt"
IMAGENET_DIR = "imagenet"
IMAGENET_TRAIN = "images/train"
IMAGENET_CLASSES = 1000


def read_classnames(path: Path) -> dict[str, str]:
    """`classnames.txt`: one `wnid name with spaces` per line. A ValueError names the file and the line."""
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        wnid, _, name = line.strip().partition(" ")
        if not name.strip():
            raise ValueError(f"{path}, line {number}: the line must be `wnid name`, but it is {line!r}.")
        if wnid in names:
            raise ValueError(f"{path}, line {number}: {wnid} has a name already. Remove one of the lines.")
        names[wnid] = name.strip()
    if not names:
        raise ValueError(f"{path} is empty. It must have a line `wnid name` for each class.")
    return names


def clip_classnames() -> Sequence[str]:
    """CLIP's names of the 1000 ImageNet classes, in the order of the sorted WordNet ids."""
    from open_clip import IMAGENET_CLASSNAMES

    return IMAGENET_CLASSNAMES


class WnidFolders(FewShotDataset):
    """A data set whose images lie in folders named by WordNet id, which are listed: there is no split file.

    Subclasses that are `eval_only` have ImageNet's classes or some of them; `class_indices` says which.
    """

    label_files = (CLASSNAMES_FILE, f"../{IMAGENET_DIR}/{CLASSNAMES_FILE}")

    def load_split(self, cfg) -> Split:
        """The result of `list_split`; with training images, also of a json file (DATASET.SPLIT_FILE)."""
        if not cfg.DATASET.SPLIT_FILE:
            return self.list_split()
        if self.eval_only:
            raise ValueError(f"{type(self).__name__} is read from its folders. Leave DATASET.SPLIT_FILE empty.")
        return super().load_split(cfg)

    def list_split(self) -> Split:
        """The test images of an evaluation set; labels count the sorted folders."""
        folders = self.class_folders(self.image_root)
        source = self.source_wnids()
        names = self.names_of(folders, source)
        self.class_indices = self.indices_in(source, folders)
        items = self.list_items(self.image_root, folders, names)
        return Split([], None, items, source=str(self.image_root), listed=True)

    def class_folders(self, folder: Path) -> list[str]:
        """Names of the class folders, in label order. A folder of the same name in itself is not one."""
        if not folder.is_dir():
            raise FileNotFoundError(self.help(f"there is no folder {folder}", folder))
        found = [name for name in list_folders(folder) if name != folder.name]
        if not found:
            raise FileNotFoundError(self.help(f"there is no class folder in {folder}", folder))
        return found

    def list_items(self, folder: Path, folders: Sequence[str], names: Sequence[str]) -> list[Item]:
        """All images below `folder`, class after class, files sorted by name."""
        prefix = folder.relative_to(self.image_root).as_posix()
        prefix = "" if prefix == "." else f"{prefix}/"
        items: list[Item] = []
        for label, (name, classname) in enumerate(zip(folders, names, strict=True)):
            images = list_images(folder / name)
            if not images:
                raise FileNotFoundError(self.help(f"no image is in the class folder {folder / name}", folder / name))
            items += [Item(f"{prefix}{name}/{image}", label, classname) for image in images]
        return items

    def source_wnids(self) -> list[str] | None:
        """WordNet ids of the ImageNet classes in label order, from its training folders, or else from the names file.

        None if there is neither.
        """
        train = self.root.parent / IMAGENET_DIR / IMAGENET_TRAIN
        if train.is_dir():
            return list_folders(train)
        path = self.classnames_file()
        return sorted(read_classnames(path)) if path else None

    def name_classes(self, split: Split, cfg) -> Split:
        """Return a listed split unchanged, because `names_of` has read DATASET.CLASSNAMES_FILE already."""
        return split if split.listed else super().name_classes(split, cfg)

    def classnames_file(self) -> Path | None:
        """DATASET.CLASSNAMES_FILE (one `wnid name` per line), or `classnames.txt` in the data set's own folder, or the
        one in ImageNet's folder beside it."""
        given = self.names_file(self.cfg)
        if given is not None:
            return given
        paths = [folder / CLASSNAMES_FILE for folder in (self.root, self.root.parent / IMAGENET_DIR)]
        return next((path for path in paths if path.is_file()), None)

    def names_of(self, folders: Sequence[str], source: Sequence[str] | None) -> list[str]:
        """Class names of the WordNet ids `folders`, from `classnames.txt`, or CLIP's if `source` lists all 1000."""
        path = self.classnames_file()
        if path:
            names = read_classnames(path)
        elif source and len(source) == IMAGENET_CLASSES:
            names = dict(zip(source, clip_classnames(), strict=True))
        else:
            raise FileNotFoundError(self.help(f"there is no {CLASSNAMES_FILE} in {self.root}", self.root))
        unknown = [wnid for wnid in folders if wnid not in names]
        if unknown:
            raise ValueError(
                f"{path or 'the list of ImageNet classes'} does not name the class folder(s) {some(unknown)}."
            )
        return [names[wnid] for wnid in folders]

    def indices_in(self, source: Sequence[str] | None, folders: Sequence[str]) -> list[int] | None:
        """The position in `source` of each of `folders`; None if both are equal."""
        if source is None or list(source) == list(folders):
            return None
        positions = {wnid: index for index, wnid in enumerate(source)}
        unknown = [wnid for wnid in folders if wnid not in positions]
        if unknown:
            raise ValueError(
                f"{self.image_root}: {some(unknown)} are not among the {len(source)} ImageNet classes here."
            )
        return [positions[wnid] for wnid in folders]
