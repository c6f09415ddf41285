"""Find the pieces of a data set that are on the disk already, and link those in another layout into CoOp's layout.

No file of the user's is moved, copied or removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from simnl.data.listing import list_folders

from .sources import Piece, Source

DEEPER = 2  # levels of folders that unpacking by hand may have put between a data set's folder and its pieces


def present(path: Path) -> bool:
    """Whether a path is a file, or a folder that is not empty. Links are followed."""
    if path.is_dir():
        with os.scandir(path) as entries:
            return any(True for _ in entries)
    return path.exists()


def elsewhere(root: Path, source: Source, piece: Piece) -> Path | None:
    """Another place below `root` that has the piece; None if there is none."""
    target = source.path(root, piece)
    places = [root / place for place in piece.elsewhere]
    if not piece.above:
        places += _deeper(root / source.folder, piece.target, {source.path(root, other) for other in source.pieces})
    return next((place for place in places if present(place) and not _same(place, target)), None)


def _deeper(folder: Path, target: str, pieces: set[Path]) -> Iterator[Path]:
    """`target` below the folders in `folder`, the least deep first, as unpacking by hand leaves it; not in `pieces`."""
    level = [folder]
    for _ in range(DEEPER):
        level = [above / name for above in level if above.is_dir() for name in list_folders(above)]
        level = [place for place in level if place not in pieces]
        yield from (place / target for place in level)


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and os.path.samefile(one, other)


def link(target: Path, place: Path) -> None:
    """Make `target` a relative link to `place`.

    Raises:
        OSError: this disk or system has no links. The message says what to do instead.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    make_way(target)
    try:
        target.symlink_to(os.path.relpath(place, target.parent.resolve()), target_is_directory=place.is_dir())
    except OSError as error:
        raise OSError(f"{target} could not be linked to {place} ({error}). Copy or move it there yourself.") from error


def make_way(target: Path) -> None:
    """Remove an empty folder, or a link that leads nowhere, from this path."""
    if target.is_symlink() and not target.exists():
        target.unlink()
    elif target.is_dir() and not target.is_symlink() and not present(target):
        target.rmdir()


def can_link(root: Path, source: Source) -> bool:
    """Whether a missing piece is below `root` in another layout."""
    return any(
        unlinked_in_nested(source.path(root, piece))
        if present(source.path(root, piece))
        else elsewhere(root, source, piece) is not None
        for piece in source.pieces
        if not piece.above
    )


def unlinked_in_nested(target: Path) -> list[Path]:
    """Entries of `target/<its own name>` (as Kaggle's archives have it) that `target` itself lacks."""
    nested = target / target.name
    if not nested.is_dir():
        return []
    there = set(os.listdir(target))
    return [nested / name for name in sorted(os.listdir(nested)) if name not in there]


def link_nested(target: Path, entries: list[Path]) -> None:
    """Link `entries` of the nested folder into `target`."""
    for entry in entries:
        link(target / entry.name, entry)
