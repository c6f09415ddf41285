"""Prepare ImageNet from the official archives, or from folders in another layout; it is never downloaded."""

from __future__ import annotations

import csv
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from torchvision.datasets import imagenet as official

from simnl.data.listing import list_folders, list_images, read_text
from simnl.data.matlab import load_mat

from .layout import link, make_way, present
from .sizes import require_space
from .sources import DOWNLOADS
from .unpack import TEMPORARY, remove_leftovers

DEVKIT = "ILSVRC2012_devkit_t12/data"  # the devkit's archive, unpacked
KAGGLE = "ILSVRC/Data/CLS-LOC"
SOLUTION = "LOC_val_solution.csv"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
Task = tuple[str, Callable[[], None] | None]  # the task in words, and its function; None if a person has to do it


class Builder:
    """Makes `images/train` and `images/val` in `folder`, the folder of ImageNet below the data root `root`."""

    def __init__(self, root: Path, folder: Path, by_hand: str) -> None:
        self.root, self.folder, self.by_hand = root, folder, by_hand
        self.images = folder / "images"

    def tasks(self) -> list[Task]:
        """The tasks for training and validation images that are not in place."""
        return [*self._train(), *self._val()]

    def _train(self) -> list[Task]:
        target = self.images / "train"
        if present(target):
            return []
        for place in self._places("train"):
            if has_classes(place):
                return [(f"link {target} to {place}", partial(link, target, place))]
        archive = self._archive("train")
        if archive:
            return [(f"check {archive} and unpack it into {target}", partial(self._unpack_train, archive, target))]
        return [(self.by_hand, None)]

    def _val(self) -> list[Task]:
        target, devkit = self.images / "val", self._archive("devkit")
        if has_classes(target):
            return []
        if present(target):
            aside = self.folder / "val"
            advice = (
                f"{target} holds images that are not in class folders. Move that folder to {aside} and run this again."
            )
            return [(advice, None)]
        for place in self._places("val"):
            if has_classes(place):
                return [(f"link {target} to {place}", partial(link, target, place))]
        for place in self._places("val"):
            labels = self._solution() or devkit or self._unpacked_devkit()
            if labels and place.is_dir() and list_images(place):
                words = f"link the images of {place} into class folders in {target}, after {labels.name}"
                return [(words, partial(self._sort, place, labels, target))]
        archive = self._archive("val")
        if archive and devkit:
            words = f"check {archive} and unpack it into class folders in {target}, after {devkit.name}"
            return [(words, partial(self._unpack_val, archive, devkit, target))]
        return [(self.by_hand, None)]

    def _places(self, part: str) -> list[Path]:
        nested = [self.folder / name for name in ("ILSVRC2012", "imagenet/images", "imagenet", "images/images")]
        above = [self.folder / KAGGLE, self.root / KAGGLE, self.folder, self.root / "ILSVRC2012", *nested]
        return [folder / part for folder in above] + [self.folder / f"ILSVRC2012_img_{part}"]

    def _archive(self, kind: str) -> Path | None:
        name = official.ARCHIVE_META[kind][0]
        paths = (folder / name for folder in (self.folder, self.root, self.root / DOWNLOADS))
        return next((path for path in paths if path.is_file()), None)

    def _unpacked_devkit(self) -> Path | None:
        paths = (folder / place for folder in (self.folder, self.root) for place in (DEVKIT, "."))
        return next((path for path in paths if (path / GROUND_TRUTH).is_file()), None)

    def _solution(self) -> Path | None:
        paths = (folder / SOLUTION for folder in (self.folder, self.root, self.folder / "ILSVRC", self.root / "ILSVRC"))
        return next((path for path in paths if path.is_file()), None)

    def _unpack_train(self, archive: Path, target: Path) -> None:
        require_space(target, archive.stat().st_size, archive.name)
        with becoming(target) as folder:
            official.parse_train_archive(archive.parent, archive.name, str(folder))

    def _unpack_val(self, archive: Path, devkit: Path, target: Path) -> None:
        require_space(target, archive.stat().st_size, archive.name)
        with becoming(target) as folder:
            official.parse_val_archive(archive.parent, archive.name, devkit_wnids(devkit), str(folder))

    def _sort(self, place: Path, labels: Path, target: Path) -> None:
        images = list_images(place)
        if labels.name == SOLUTION:
            wnids = solution_wnids(labels, images)
        else:
            wnids = devkit_wnids(labels)
        if len(wnids) != len(images):
            raise ValueError(
                f"{place} holds {len(images)} images, while {labels.name} labels {len(wnids)}: which is which cannot "
                "be told. Complete that folder."
            )
        with becoming(target) as folder:
            for wnid, image in zip(wnids, images, strict=True):
                link(folder / wnid / image, place / image)


@contextmanager
def becoming(target: Path):
    """A temporary folder beside `target` that takes its name where all went well, and goes otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=target.parent.resolve()))
    try:
        yield folder
        folder.chmod(0o755)
        make_way(target)
        os.replace(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def has_classes(folder: Path) -> bool:
    """Whether a folder has class folders such as n01440764."""
    return folder.is_dir() and any(re.fullmatch(r"n\d{8}", name) for name in list_folders(folder))


def devkit_wnids(devkit: Path) -> list[str]:
    """WordNet ids of the validation images in the order of their names, from the devkit's archive or its `data` folder.

    Raises:
        ValueError: the archive's md5 is not the published one, or the folder's list holds something else than the
        numbers of classes. FileNotFoundError: the folder has no `meta.mat`.
    """
    if devkit.is_dir():
        return _ground_truth(devkit)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, devkit.name).symlink_to(devkit.resolve())  # because the parser writes files beside the archive
        try:
            official.parse_devkit_archive(folder, devkit.name)
        except RuntimeError as error:  # of torchvision, which names the temporary folder
            raise ValueError(f"{devkit} is not the published archive: its md5 differs. Get it again.") from error
        return list(official.load_meta_file(folder)[1])


def _ground_truth(folder: Path) -> list[str]:
    meta, truth = folder / "meta.mat", folder / GROUND_TRUTH
    if not meta.is_file():
        raise FileNotFoundError(f"{meta} is missing, which names the classes that {truth} numbers. Put it there.")
    wnids = {str(row.ILSVRC2012_ID): str(row.WNID) for row in load_mat(meta, "synsets")}
    lines = read_text(truth).split()
    unknown = next((line for line in lines if line not in wnids), None)
    if unknown is not None:
        raise ValueError(f"{truth}: {unknown!r} is not a class number of {meta}.")
    return [wnids[line] for line in lines]


def solution_wnids(path: Path, images: Sequence[str]) -> list[str]:
    """WordNet ids of `images`, from Kaggle's list: `ImageId,PredictionString`, the first word of the latter.

    Raises:
        ValueError: an image is not listed, or the file is another one.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        wnids = {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} must have the columns ImageId and PredictionString, filled in each row.") from error
    unknown = [image for image in images if Path(image).stem not in wnids]
    if unknown:
        raise ValueError(f"{path} does not list {unknown[0]} ({len(unknown)} such images).")
    odd = sorted(wnid for wnid in set(wnids.values()) if not re.fullmatch(r"n\d{8}", wnid))
    if odd:
        raise ValueError(f"{path}: {odd[0]!r} is not a WordNet id.")
    return [wnids[Path(image).stem] for image in images]
