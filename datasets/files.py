"""Listing folders, looking for missing images, reading and writing small files."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
_SHOWN = 6


def list_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted by code point; hidden ones are left out."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def list_images(folder: Path | str) -> list[str]:
    """Names of the image files in `folder`, sorted by code point; hidden files and other types are left out.

    The kind of an entry comes with the directory listing, so no file is looked at one by one.
    """
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(IMAGE_SUFFIXES)
            and not entry.name.startswith(".")
            and entry.is_file()
        )


def describe(folder: Path) -> str:
    """One clause for an error message: what `folder` holds."""
    if folder.is_file():
        return f"{folder} is a file"
    if not folder.is_dir():
        parent = next((above for above in folder.parents if above.is_dir()), None)
        return f"{folder} does not exist" + (f"; {describe(parent)}" if parent else "")
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in entries)
    except PermissionError:
        return f"{folder} may not be read (permission denied)"
    return f"{folder} holds " + (some(names) if names else "nothing")


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(str(name) for name in names[:_SHOWN]) + more


def find_missing(root: Path, paths: Iterable[str]) -> list[str]:
    """Those of `paths` (relative to `root`, forward slashes) that are no file there, in the order given.

    Each folder that is named is listed once; links are followed.
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


def _file_names(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte-order mark is skipped). ValueError where it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start}): the file is damaged or of another encoding; "
            "fetch it again or convert it to UTF-8."
        ) from error


def write_json(path: Path, value: object) -> None:
    """Write `value` as json so that readers see the whole file or none (temporary file, then a rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.write("\n")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
