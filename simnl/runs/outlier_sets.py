"""Published sets of images of unknown classes, by the names of configs/outliers: where they lie, what they should hold.

They have no classes that a method could learn or be tested on, so they are no data sets of the registry. They lie below
the same data root, in the folders that their authors use.
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
        name: of the file. title: for people.
        distance: near or far.
        folder: below the data root. images: the folder of images below that.
        listed: the list of images, below the data root; empty: all images in the folder and below it.
        count: published number of images; 0: not known.
        url, member: an archive, and the path in it; empty where there is none.
        same_as: the data set of the registry whose images these are; empty: of none.
        source: where a person gets it.
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
    """The set of a name.

    Raises:
        ValueError: a key is missing, or says what cannot be.
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
        FileNotFoundError: the folder, the list or images of it are not there; the message says what to run.
    """
    top = Path(root).expanduser().absolute()
    folder = top / one.folder / one.images
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder} ({describe(top)})")
        if not one.listed:
            found = folder_outliers(folder)
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
    """Where a data set, or a set of outliers, comes from."""
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
    problem = "" if state == RIGHT else f"{found} test images, not {one.count}"
    fix = "" if state == RIGHT else f"complete the images in {one.folder}/{one.images}"
    return Report(name, state, expected, Sizes(0, 0, 0, found), problem=problem, fix=fix)


def names() -> list[str]:
    """All of them."""
    return known(KIND)
