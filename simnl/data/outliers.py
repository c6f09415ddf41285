"""Images of unknown classes, with which detectors are tested: sets that plugins render, and folders of images.

Data sets of the registry can be used as well (`simnl.runs.outliers`). Nothing is ever chosen on outliers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simnl.data.listing import describe, find_folder, list_folders, list_images, no_folder, some

NEAR, FAR = "near", "far"


@dataclass(frozen=True)
class Outliers:
    """A set of images of unknown classes.

    Attributes:
        name: the name in figures and tables.
        paths: absolute paths of the images.
        classnames: the classes of the images, if they have names. None of them may be a class of the run.
        distance: `near` for other classes of the same data, `far` for other data.
        contents: the SHA-256 of each image (32 bytes), in the order of the paths; empty if images were not read.
    """

    name: str
    paths: Sequence[str]
    classnames: Sequence[str]
    distance: str = FAR
    contents: Sequence[bytes] = ()


RENDERED: dict[str, Callable[[Path], Outliers]] = {}


def rendered(name: str):
    """Register a function that renders a set of outliers below a folder (STORE.ROOT) and returns it."""

    def register(function: Callable[[Path], Outliers]):
        RENDERED[name] = function
        return function

    return register


def folder_outliers(folder: str, root: str) -> Outliers:
    """All images in a folder and in the folders below it; the names of folders with images count as class names.

    Args:
        folder: the name of the folder, which `places_of` looks for.
        root: the data root.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    top = find_folder(folder, root)
    if not top.is_dir():
        raise FileNotFoundError(f"No outliers: {no_folder(folder, root)}. Name a folder of images, or a data set.")
    paths: list[str] = []
    names: list[str] = []
    waiting = [top]
    while waiting:
        here = waiting.pop(0)
        found = list_images(here)
        paths += [str(here / name) for name in found]
        names += [here.name] if found else []
        waiting += [here / name for name in list_folders(here)]
    if not paths:
        raise FileNotFoundError(f"Outliers: there is no image in {top} or below it ({describe(top)}).")
    return Outliers(top.name, paths, names)


def plain_name(name: str) -> str:
    """A class name in the form that is compared: only small letters and digits."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def check_disjoint(outliers: Outliers, known: Iterable[str], known_images: Mapping[bytes, str]) -> None:
    """Check that outliers show no known class and are not images of the run.

    Args:
        outliers: the set of outliers, with its contents.
        known: the names of the known classes.
        known_images: {SHA-256: path} of the images that the run trains on, selects on or is tested on.

    Raises:
        ValueError: both have equal class names, or images that are equal byte for byte. The message names some.
    """
    theirs = {plain_name(name): name for name in outliers.classnames}
    both = [name for name in known if plain_name(name) in theirs]
    if both:
        raise ValueError(
            f"The outliers {outliers.name} are not unknown: {len(both)} of their classes are known to the run "
            f"({some(both)}). Leave the set out, or train on other classes (DATASET.SUBSAMPLE_CLASSES)."
        )
    pairs = zip(outliers.contents, outliers.paths, strict=True)
    equal = [f"{path} = {known_images[content]}" for content, path in pairs if content in known_images]
    if equal:
        raise ValueError(
            f"The outliers {outliers.name} are not unknown: {len(equal)} of their {len(outliers.paths)} images are "
            f"images of the run, byte for byte ({some(equal[:2])})."
        )
