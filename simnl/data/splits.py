"""Splits: which images form the training, validation and test part of a data set, with label and class name.

The file format is CoOp's: `{"train" | "val" | "test": [[path below the image folder, label, class name],
...]}`. A file that this package made has one more key, `"generated"`, which says how.
"""

from __future__ import annotations

import hashlib
import posixpath
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from simnl import sharing
from simnl.data.listing import some, write_json
from simnl.files import version_of
from simnl.sealed import read_json

PARTS = ("train", "val", "test")
GENERATED = "generated"
ITEM_BYTES = 300  # memory that an item needs


class Item(NamedTuple):
    """One image of a split: `path` below the image folder (forward slashes), `label` and class name."""

    path: str
    label: int
    classname: str


@dataclass(frozen=True)
class Split:
    """The three parts of a data set.

    `val` is None if the data set has no validation images of its own. `origin` is "standard" (published, or the user's
    own) or "generated" (made by this program at random). `source` names the file or folder of the split. `listed` is
    True if the items were just listed from the disk, so that no search for missing files is needed.
    """

    train: Sequence[Item]
    val: Sequence[Item] | None
    test: Sequence[Item]
    origin: str = "standard"
    source: str = ""
    listed: bool = False
    how: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of every path, label and class name, in order, part by part."""
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update(f"{part}\n".encode())
            for items in _chunks(getattr(self, part) or ()):
                digest.update("".join(f"{path}\0{label}\0{name}\n" for path, label, name in items).encode())
        return digest.hexdigest()

    @cached_property
    def classnames(self) -> list[str]:
        """Class names by label."""
        names = {item.label: item.classname for items in (self.test, self.train) for item in items}
        return [names[label] for label in sorted(names)]


def _chunks(items: Sequence[Item], size: int = 10000) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


# ------------------------------------------------------------------------------------------ reading
def read_split(path: Path, *, val_required: bool = True) -> Split:
    """Read a split file strictly. With `val_required=False` an empty or missing "val" is accepted.

    Raises:
        ValueError: the file is not UTF-8 json of this format, a part is empty, a label has no training image or two
            names, the labels are not 0..n-1, or a path occurs twice or leads out of the image folder. The message names
            the file and the entry.
    """
    kept = sharing.current()
    if kept is None:
        return _read_split(path, val_required)
    key = ("split", path, val_required, *version_of(path))
    found = kept.get(key)
    if found is None:
        found = _read_split(path, val_required)
        kept.put(key, found, ITEM_BYTES * sum(len(getattr(found, part) or ()) for part in PARTS))
    return found


def _read_split(path: Path, val_required: bool) -> Split:
    content = read_json(path, "It may be cut short or damaged. Fetch it again.", surrogates=True)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be an object with the keys train, val and test, but it is {_kind(content)}.")
    unknown = sorted(set(content) - {*PARTS, GENERATED})
    absent = [part for part in PARTS if part not in content and (val_required or part != "val")]
    if unknown or absent:
        raise ValueError(
            f"{path}: expected the keys train, val and test; "
            + "; ".join([f"{some(absent)} missing"] * bool(absent) + [f"{some(unknown)} unknown"] * bool(unknown))
            + "."
        )
    parts = {part: _read_part(path, part, content.get(part, [])) for part in PARTS}
    for part in ("train", "val", "test") if val_required else ("train", "test"):
        if not parts[part]:
            raise ValueError(f"{path}: {part!r} is empty.")
    check_items(str(path), parts)
    how = content.get(GENERATED, {})
    if not isinstance(how, dict):
        raise ValueError(f"{path}: {GENERATED!r} must be an object, but it is {_kind(how)}.")
    origin = GENERATED if GENERATED in content else "standard"
    return Split(parts["train"], parts["val"] or None, parts["test"], origin, str(path), how=how)


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _read_part(path: Path, part: str, entries: object) -> list[Item]:
    if not isinstance(entries, list):
        raise ValueError(f"{path}: {part!r} must be a list of [path, label, class name], but it is {_kind(entries)}.")
    items = []
    for number, entry in enumerate(entries):
        ok = (
            isinstance(entry, list)
            and [type(value) for value in entry] == [str, int, str]  # a bool is not a label
            and entry[2].strip()
            and _printable(entry[0] + entry[2])
        )
        if not ok:
            shown = ascii(entry)[:120]
            raise ValueError(
                f"{path}: {part}[{number}] must be [path, label, class name], the label a whole number; found {shown}."
            )
        items.append(Item(*entry))
    return items


def _printable(text: str) -> bool:
    """Whether a text has neither lone surrogates nor control characters, which no file name or prompt can hold."""
    return not re.search("[\x00-\x1f\ud800-\udfff]", text)


def check_items(source: str, parts: Mapping[str, Sequence[Item]]) -> None:
    """Raise ValueError unless paths, labels and class names of all parts fit together (see `read_split`)."""
    places: dict[str, str] = {}
    names: dict[int, tuple[str, str]] = {}
    for part, items in parts.items():
        for number, item in enumerate(items):
            place = f"{part}[{number}]"
            path = _checked_path(source, place, item.path)
            if path in places:
                raise ValueError(f"{source}: {place} and {places[path]} are the same image, {item.path!r}.")
            places[path] = place
            name, first = names.setdefault(item.label, (item.classname, place))
            if name != item.classname:
                raise ValueError(
                    f"{source}: label {item.label} has two names, {name!r} ({first}) and {item.classname!r} ({place})."
                )
    _check_labels(source, names, {item.label for item in parts["train"]})


def _checked_path(source: str, place: str, path: str) -> str:
    outside = ".." in re.split(r"[/\\]", path) or path.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", path)
    if not _printable(path):
        raise ValueError(f"{source}: {ascii(path)} ({place}) has characters that no file name should have. Rename it.")
    normal = posixpath.normpath(path)
    if outside or normal == "." or path.endswith("/"):
        raise ValueError(f"{source}: the path {path!r} of {place} must name a file inside the image folder.")
    return normal


def _check_labels(source: str, names: dict[int, tuple[str, str]], trained: set[int]) -> None:
    count = len(names)
    wrong = sorted(set(names) - set(range(count)))
    if wrong:
        gaps = sorted(set(range(count)) - set(names))
        raise ValueError(
            f"{source}: labels must run from 0 to {count - 1} without a gap; {some(map(str, gaps))} missing, "
            f"{wrong[0]} ({names[wrong[0]][1]}) is beyond."
        )
    if len(trained) < count:
        label = min(set(names) - trained)
        raise ValueError(f"{source}: class {label} ({names[label][0]!r}) has no training image.")


# ------------------------------------------------------------------------------------------- making
def make_split(
    source: str,
    classes: Iterable[tuple[str, Sequence[str]]],
    seed: int,
    val_fraction: float,
    test_fraction: float,
) -> Split:
    """A random split, class by class.

    `classes` has (class name, image paths) in label order. The paths are sorted first, and each class has a generator
    of its own, so neither the order of a listing nor another class changes the result. Counts are rounded as in CoOp:
    round(n * train), round(n * val), and the rest for test. Raises ValueError if a class is too small.
    """
    train_fraction = round(1 - val_fraction - test_fraction, 10)
    if not (train_fraction > 0 and val_fraction >= 0 and test_fraction > 0):
        raise ValueError(
            f"DATASET.VAL_FRACTION {val_fraction} and DATASET.TEST_FRACTION {test_fraction} must leave some "
            "for training and test."
        )
    parts: dict[str, list[Item]] = {part: [] for part in PARTS}
    for label, (name, paths) in enumerate(classes):
        shuffled = sorted(paths)
        random.Random(f"{seed}/{name}").shuffle(shuffled)
        train, val = round(len(shuffled) * train_fraction), round(len(shuffled) * val_fraction)
        cut = (shuffled[:train], shuffled[train : train + val], shuffled[train + val :])
        for part, chosen in zip(PARTS, cut, strict=True):
            if not chosen and (part != "val" or val_fraction > 0):
                raise ValueError(
                    f"{source}: class {name!r} has only {len(shuffled)} image(s), so none is left for {part}. "
                    "Add images, or remove the class."
                )
            parts[part] += [Item(path, label, name) for path in chosen]
    if not parts["train"]:
        raise ValueError(f"{source}: there are no classes from which a split could be made.")
    check_items(source, parts)
    how = {"seed": seed, "val_fraction": val_fraction, "test_fraction": test_fraction}
    return Split(parts["train"], parts["val"] or None, parts["test"], GENERATED, source, how=how)


def write_split(path: Path, split: Split) -> None:
    """Store a generated split; `split.how` goes under the key "generated". Atomic."""
    parts = {part: [list(item) for item in getattr(split, part) or ()] for part in PARTS}
    write_json(path, {GENERATED: dict(split.how), **parts})
