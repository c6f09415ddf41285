"""List folders, look for missing images, and read and write small files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from simnl.files import write_text_atomically

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
JUNK = ("__MACOSX", "@eaDir")  # folders made by macOS's zip and by Synology's index
_SHOWN = 6


def list_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted by code point; hidden ones and `JUNK` are left out.

    Raises:
        ValueError: a name is not UTF-8, so that no split or prompt can hold it.
    """
    names = (name for name in _entries(folder, os.DirEntry.is_dir) if name not in JUNK)
    return sorted(_checked(folder, name) for name in names)


def list_images(folder: Path | str) -> list[str]:
    """Names of the image files in `folder`, sorted by code point; hidden files and other types are left out.

    The directory listing tells the kind of each entry, so files are not examined one by one.

    Raises:
        ValueError: a name is not UTF-8.
    """
    names = (name for name in _entries(folder, os.DirEntry.is_file) if name.lower().endswith(IMAGE_SUFFIXES))
    return sorted(_checked(folder, name) for name in names)


def list_others(folder: Path | str) -> list[str]:
    """Names of the files in `folder` that `list_images` leaves out because of their endings, without hidden files."""
    names = _entries(folder, os.DirEntry.is_file)
    return sorted(name for name in names if not name.lower().endswith(IMAGE_SUFFIXES))


def _entries(folder: Path | str, wanted: Callable[[os.DirEntry], bool]) -> Iterator[str]:
    """Names of the entries of a kind that are not hidden. A link that leads to itself has no kind."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and _holds(entry, wanted):
                yield entry.name


def _holds(entry: os.DirEntry, question: Callable[[os.DirEntry], bool]) -> bool:
    try:
        return question(entry)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _checked(folder: Path | str, name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{os.fspath(folder)} holds the name {ascii(name)}, which is not UTF-8. Rename it.") from error
    return name


def describe(folder: Path) -> str:
    """The content of `folder` as a clause of an error message."""
    if folder.is_file():
        return f"{folder} is a file"
    if not folder.is_dir():
        parent = next((above for above in folder.parents if above.is_dir()), None)
        return f"{folder} does not exist" + (f"; {describe(parent)}" if parent else "")
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name + "/" * _holds(entry, os.DirEntry.is_dir) for entry in entries)
    except PermissionError:
        return f"{folder} may not be read (permission denied)"
    return f"{folder} holds " + (some(names) if names else "nothing")


def places_of(folder: str, root: str) -> list[Path]:
    """Where a folder that a user names can be, in the order in which it is looked for: below the data root, then below
    the current folder. A name that begins with `./` or `../` is looked for below the current folder first.

    Args:
        folder: the name; an absolute one has one place.
        root: the data root.
    """
    name, above = os.path.expanduser(folder), [os.path.expanduser(root), os.curdir]
    if _is_from_here(name):
        above.reverse()
    return list(dict.fromkeys(Path(os.path.abspath(os.path.join(place, name))) for place in above))


def _is_from_here(name: str) -> bool:
    return name.startswith((f"{os.curdir}{os.sep}", f"{os.pardir}{os.sep}"))


def find_folder(folder: str, root: str) -> Path:
    """The first of `places_of` that is a folder; the first of all if none is."""
    places = places_of(folder, root)
    return next((place for place in places if place.is_dir()), places[0])


def lasting_name(folder: str, root: str) -> str:
    """A name with which `find_folder` finds the same folder from any current folder: the one that the user typed, if
    it is one below the data root, else the absolute path."""
    found = find_folder(folder, root)
    return str(found) if _is_from_here(folder) or found != places_of(folder, root)[0] else folder


def no_folder(folder: str, root: str) -> str:
    """A clause of an error message: in which places there is no folder."""
    return f"there is no folder {' and no folder '.join(map(str, places_of(folder, root)))}"


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(str(name) for name in names[:_SHOWN]) + more


def find_missing(root: Path, paths: Iterable[str]) -> list[str]:
    """The `paths` (relative to `root`, forward slashes) that are not files, in the order of the argument.

    Each folder is listed once. Links are followed.
    """
    present: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in present:
            present[folder] = _file_names(os.path.join(root, folder))
        if name not in present[folder]:
            missing.append(path)
    return missing


def find_namesake(root: Path, path: str) -> str:
    """The name of a file that differs from `path` (below `root`) only in its ending or in capitals; "" for none."""
    folder, _, name = path.rpartition("/")
    stem = os.path.splitext(name)[0].lower()
    names = sorted(_file_names(os.path.join(root, folder)))
    return next((other for other in names if os.path.splitext(other)[0].lower() == stem), "")


def _file_names(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if _holds(entry, os.DirEntry.is_file)}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte-order mark is skipped). Raises ValueError if it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start}). The file is damaged or has another encoding. "
            "Fetch it again, or convert it to UTF-8."
        ) from error


def write_json(path: Path, value: object) -> None:
    """Write `value` as json, whole or not at all."""
    write_text_atomically(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
