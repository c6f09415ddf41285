"""Class names from a text file, for prompts with other names than those of the folders."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from simnl.data.listing import read_text, some

_ENDS = re.compile(r"[,\s]|$")  # what may follow a class


def as_read(name: str) -> str:
    """A class name as prompts spell it: underscores are spaces, several blanks are one, and accents are composed."""
    return unicodedata.normalize("NFC", " ".join(name.replace("_", " ").split()))


def find_alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that prompts spell alike: different spellings, or the same name of two classes."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(as_read(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def read_names(path: Path, classes: Sequence[str]) -> dict[str, str]:
    """Names by class. Each class has one line: the class, a comma, tab or spaces, and its name for prompts.

    The lines start with one of `classes`, which are names of class folders or the class names of a json split. They may
    hold spaces; the longest one that fits counts. Empty lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not UTF-8, a class is unknown, lacks a name or a line, or is there twice, two classes
            get the same name, or two classes of the data set are called the same. The message has file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} (DATASET.CLASSNAMES_FILE) with one line per class.")
    doubled = [name for name, count in Counter(classes).items() if count > 1]
    if doubled:
        raise ValueError(f"{path} cannot name the classes, because {some(doubled)} stands for more than one class.")
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        label, name = _parse(where, line.strip(), classes)
        if label in names:
            raise ValueError(f"{where}: {label!r} has a name already. Remove one of the lines.")
        other = next((label for label, known in names.items() if as_read(known) == as_read(name)), None)
        if other is not None:
            raise ValueError(f"{where}: {label!r} and {other!r} are both called {name!r}. Change one of the names.")
        names[label] = name
    missing = [label for label in classes if label not in names]
    if missing:
        raise ValueError(f"{path} names {len(names)} of {len(classes)} classes. Add a line for {some(missing)}.")
    return names


def _parse(where: str, line: str, classes: Sequence[str]) -> tuple[str, str]:
    fitting = [label for label in classes if line.startswith(label) and _ENDS.match(line, len(label))]
    if not fitting:
        raise ValueError(
            f"{where}: expected `class, name`, where the class is one of {some(map(repr, classes))}; found {line!r}."
        )
    label = max(fitting, key=len)
    name = line[len(label) :].lstrip(" ,\t").strip()
    if not name:
        raise ValueError(f"{where}: {label!r} has no name. A line must be `class, name`.")
    if not name.isprintable():
        raise ValueError(f"{where}: the name {ascii(name)} has characters that cannot be printed.")
    return label, name
