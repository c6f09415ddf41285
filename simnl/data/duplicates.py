"""Find images of equal content in two parts of a data set.

A test image that was trained on makes every figure too good. Equal means byte for byte. The same picture is not found
if it was saved again or has a different size.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from simnl.bars import bar as progress_bar
from simnl.data.digests import FileDigests
from simnl.data.listing import some

PAIRS = (("train", "test"), ("val", "test"), ("train", "val"))
WORDS = {"train": "training", "val": "validation", "test": "test"}
CHUNK = 2000  # digests that are stored at once, so that an interrupted search can continue
EMPTY = hashlib.sha256().digest()  # the digest of empty files, which are unreadable and not equal

Shared = dict[tuple[str, str], list[tuple[str, str]]]


def remembered_digests(cache: Path, name: str) -> Callable[[Sequence[str]], list[bytes]]:
    """A function from paths to SHA-256 digests. It shares its table with the feature store, so each file is read once.

    `cache` is STORE.ROOT. `name` is shown at the progress bar, which short searches do not have.
    """

    def digests(paths: Sequence[str]) -> list[bytes]:
        memory, found = FileDigests(cache), []
        with progress_bar(f"read {name}", len(paths), "image", delay=2) as bar:
            for start in range(0, len(paths), CHUNK):
                chunk = paths[start : start + CHUNK]
                found += memory.of(chunk)
                bar.update(len(chunk))
        return found

    return digests


def find_shared(parts: Mapping[str, Sequence[str]], digests: Callable[[Sequence[str]], list[bytes]]) -> Shared:
    """Images that two parts have in common.

    Args:
        parts: the paths of the images of train, val and test. A part may be missing.
        digests: a function from paths to content digests, called once per part.

    Returns:
        For each of `PAIRS` with equal images: (path in the second part, path of the first equal image in the first
        part), in the order of the second part.
    """
    by_part = {part: list(zip(digests(paths), paths, strict=True)) for part, paths in parts.items()}
    shared: Shared = {}
    for first, second in PAIRS:
        known: dict[bytes, str] = {}
        for digest, path in by_part.get(first, ()):
            known.setdefault(digest, path)
        known.pop(EMPTY, None)
        pairs = [(path, known[digest]) for digest, path in by_part.get(second, ()) if digest in known]
        if pairs:
            shared[first, second] = pairs
    return shared


def in_words(shared: Shared, root: Path) -> str:
    """The shared images in words, a clause per pair of parts, with the first paths below `root`; "" for none."""
    return "; ".join(
        f"{len(pairs)} {WORDS[second]} {'images are' if len(pairs) > 1 else 'image is'} equal in content to "
        f"{WORDS[first]} images: "
        + some(f"{os.path.relpath(path, root)} = {os.path.relpath(other, root)}" for path, other in pairs)
        for (first, second), pairs in shared.items()
    )
