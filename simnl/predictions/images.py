"""The images that words on a command line mean."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence

from simnl.data.listing import IMAGE_SUFFIXES, JUNK

STANDARD_INPUT = "-"


def images_of(words: Sequence[str], lines: Iterable[str] = ()) -> list[str]:
    """Paths of images, each once, in the order of the words.

    Args:
        words: files; folders, of which all images count, those of the folders in them too; patterns with `*`, `?` or
            `[...]` (`**` goes through folders); `-`, which stands for `lines`.
        lines: one such word (but `-`) each.

    Returns:
        A file that is named is in it though it is not there: whoever reads it says so.

    Raises:
        FileNotFoundError: a folder without images, a pattern that nothing fits, or no image at all.
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
                f"No image lies in {word}. Files count that end in {', '.join(IMAGE_SUFFIXES)}, but no hidden ones."
            )
        return inside
    if os.path.lexists(word) or not glob.has_magic(word):
        return [word]
    fitting = sorted(path for path in glob.glob(word, recursive=True) if os.path.isfile(path))
    if not fitting:
        raise FileNotFoundError(f"No file fits the pattern {word}.")
    return fitting


def _below(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in JUNK)
        names = (name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))
        yield from (os.path.join(place, name) for name in sorted(names))
