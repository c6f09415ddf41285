"""Published sets of images of unknown classes, as configs/outliers declares them: their places and their contents.

A method can neither learn nor be tested on their classes, so the sets are not in the registry of data sets. They lie
below the same data root, in the folders that their authors use.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simnl.commands import as_typed
from simnl.config_names import config_file, known
from simnl.data.base import Sizes
from simnl.data.listing import describe, find_missing, read_text, some
from simnl.data.outliers import FAR, NEAR, Outliers, folder_outliers
from simnl.data.preparation.catalogue import SOURCES
from simnl.data.preparation.sources import Piece, Remote, Source
from simnl.errors import describe as describe_error
from simnl.runs.data_check import READABLE, RIGHT, Report
from simnl.runs.yaml_files import read_yaml

KIND = "outliers"
BY_HAND = (
    "Get {what} as {source} says (its scripts/download), so that there are {root}/{place}{more}. OpenOOD keeps its "
    "files on Google Drive, and publishes no check sums."
)


@dataclass(frozen=True)
class OutlierSet:
    """What a file of configs/outliers declares.

    Attributes:
        name: the name of the file. title: the name that people read.
        distance: near or far.
        folder: the folder below the data root. images: the folder of images below `folder`.
        listed: the list of images, below the data root; empty to take all images in the folder and below it.
        count: the published number of images; 0 if it is not known.
        url, member: an archive, and the path in it; empty if there is none.
        same_as: the data set of the registry that has the same images; empty if none has.
        source: where a person gets the set.
    """

    name: str
    title: str
    distance: str
    folder: str
    images: str
    count: int
    source: str
    listed: str = ""
    url: str = ""
    member: str = ""
    same_as: str = ""


def declared(name: str) -> OutlierSet:
    """The set that a file of configs/outliers declares.

    Raises:
        ValueError: a key is missing or has an impossible value.
    """
    path = config_file(KIND, name)
    body: Any = read_yaml(path)
    keys = {"DISPLAY_NAME": "title", "LIST": "listed"}
    found = {keys.get(key, key.lower()): value for key, value in body.items()}
    if found.get("distance") not in (NEAR, FAR):
        raise ValueError(f"{path}: DISTANCE is '{found.get('distance')}'. Choose {NEAR} or {FAR}.")
    try:
        return OutlierSet(name=name, **found)
    except TypeError as error:
        raise ValueError(f"{path}: {str(error).partition(') ')[2] or error}.") from error


def load(one: OutlierSet, root: str) -> Outliers:
    """The images of a set below a data root.

    Raises:
        FileNotFoundError: the folder, the list or some images are missing. The message says what to run.
    """
    top = Path(root).expanduser().absolute()
    folder = top / one.folder / one.images
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder} ({describe(top)})")
        if not one.listed:
            found = folder_outliers(str(folder), root)
            names = [name for name in found.classnames if name != folder.name]
            return Outliers(one.name, found.paths, names, one.distance)
        return Outliers(one.name, _listed(top / one.listed, top / one.folder), (), one.distance)
    except FileNotFoundError as error:
        command = as_typed(f"python tools/prepare_data.py {one.name} --root {shlex.quote(root)}")
        raise FileNotFoundError(f"{one.name}: {error}. Run `{command}` to get it or to see what is missing.") from error


def _listed(path: Path, folder: Path) -> list[str]:
    """Absolute paths of the images in a list."""
    lines = [line.rpartition(" ")[0] or line for line in map(str.strip, read_text(path).splitlines()) if line]
    missing = find_missing(folder, lines)
    if missing:
        raise FileNotFoundError(f"{len(missing)} of {len(lines)} images of {path} are not in {folder}: {some(missing)}")
    return [str(folder / line) for line in lines]


def source_of(name: str) -> Source:
    """The place from which a data set, or a set of outliers, is fetched."""
    if name in SOURCES:
        return SOURCES[name]
    one = declared(name)
    if one.same_as:
        source = SOURCES[one.same_as]
        return replace(source, name=name, pieces=tuple(p for p in source.pieces if p.target == one.images))
    remote = Remote(one.url.rpartition("/")[2], (one.url,)) if one.url else None
    pieces = [Piece(one.images, remote, one.member)]
    pieces += [Piece(one.listed, above=True)] if one.listed else []
    place, more = f"{one.folder}/{one.images}", f" and {{root}}/{one.listed}" if one.listed else ""
    text = BY_HAND.replace("{more}", more).replace("{place}", place)
    by_hand = text.replace("{what}", one.title).replace("{source}", one.source)
    return Source(name, one.folder, tuple(pieces), by_hand)


def check_outliers(name: str, root: Path) -> Report:
    """Compare a set of outliers on the disk with the published one, by reading it as a run would."""
    one = declared(name)
    expected = Sizes(0, 0, 0, one.count) if one.count else None
    try:
        found = len(load(one, str(root)).paths)
    except PermissionError as error:
        return Report(name, "not readable", expected, problem=describe_error(error), fix=READABLE)
    except (OSError, ValueError) as error:
        problem, _, fix = describe_error(error).splitlines()[0].partition(" Run `")
        return Report(name, "missing", expected, problem=problem, fix=fix.partition("`")[0])
    state = RIGHT if found == one.count or not one.count else "wrong image count"
    problem = "" if state == RIGHT else f"{found} test images were found, {one.count} are expected"
    fix = "" if state == RIGHT else f"complete the images in {one.folder}/{one.images}"
    return Report(name, state, expected, Sizes(0, 0, 0, found), problem=problem, fix=fix)


def names() -> list[str]:
    """The names of all sets."""
    return known(KIND)
