"""Find the images that the words of a command line name."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence

from simnl.data.listing import IMAGE_SUFFIXES, JUNK

STANDARD_INPUT = "-"


def images_of(words: Sequence[str], lines: Iterable[str] = ()) -> list[str]:
    """Paths of images, each once, in the order of the words.

    Args:
        words: files; folders, with all images in them and in their folders; patterns with `*`, `?` or `[...]` (`**`
            goes through folders); and `-`, which stands for `lines`.
        lines: one such word (except `-`) each.

    Returns:
        The paths. A named file may be missing; the reader then reports it.

    Raises:
        FileNotFoundError: a folder has no images, no file fits a pattern, or there is no image at all.
    """
    found: list[str] = []
    for word in words:
        if word == STANDARD_INPUT:
            for line in lines:
                found += _images(line.rstrip("\r\n")) if line.strip() else []
        else:
            found += _images(word)
    if not found:
        raise FileNotFoundError("No image is named. Give image files, folders, patterns, or - for a list of paths.")
    return list(dict.fromkeys(found))


def _images(word: str) -> list[str]:
    if os.path.isdir(word):
        inside = list(_below(word))
        if not inside:
            raise FileNotFoundError(
                f"There is no image in {word}. Images end in {', '.join(IMAGE_SUFFIXES)}; hidden files are left out."
            )
        return inside
    if os.path.lexists(word) or not glob.has_magic(word):
        return [word]
    fitting = sorted(path for path in glob.glob(word, recursive=True) if os.path.isfile(path))
    if not fitting:
        raise FileNotFoundError(f"No file fits the pattern {word}. Check the pattern, or name files or folders.")
    return fitting


def _below(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in JUNK)
        names = (name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))
        yield from (path for name in sorted(names) if not _is_special(path := os.path.join(place, name)))


def _is_special(path: str) -> bool:
    """True for a pipe, socket or device, from which reading may never end."""
    return os.path.exists(path) and not os.path.isfile(path)
