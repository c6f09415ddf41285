"""Find the missing pieces of a data set (`plan`), and get them (`Step.run`).

An interrupted step leaves either everything or nothing of its result, so a plan can be made and run again at any time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torchvision.datasets.utils import calculate_md5

from simnl.files import replacing

from . import classnames, fetch, imagenet, layout, unpack
from .sources import DOWNLOADS, Piece, Remote, Source


@dataclass(frozen=True)
class Step:
    """A step in words and the function that does it; `run` is None if a person has to do it."""

    text: str
    run: Callable[[], None] | None = None


def plan(source: Source, root: Path, keep: bool = False) -> list[Step]:
    """The steps that are left for a data set, without doing them; empty if all pieces are there.

    `keep` keeps downloaded archives after they are unpacked.
    """
    steps: list[Step] = []
    downloads: dict[Remote, list[Piece]] = {}
    for piece in source.pieces:
        step = _without_download(source, piece, root)
        if step == "there":
            continue
        if isinstance(step, Step):
            steps.append(step)
        elif piece.remote and (piece.remote.address or (root / DOWNLOADS / piece.remote.name).is_file()):
            downloads.setdefault(piece.remote, []).append(piece)
        else:
            steps.append(Step(source.by_hand.format(root=root, folder=source.folder)))
    for remote, pieces in downloads.items():
        run = partial(_get, source, root, remote, tuple(pieces), keep)
        steps.append(Step(_words(source, root, remote, pieces), run))
    if source.name == "imagenet":
        by_hand = source.by_hand.format(root=root, folder=source.folder)
        steps += [Step(*task) for task in imagenet.Builder(root, root / source.folder, by_hand).tasks()]
    return list(dict.fromkeys(steps))


def tidy(source: Source, root: Path) -> None:
    """Remove files of runs that were killed while unpacking. No other run may be unpacking at the same time."""
    for folder in (root / source.folder, root / source.folder / "images"):
        unpack.remove_leftovers(folder)


def _without_download(source: Source, piece: Piece, root: Path) -> Step | str:
    """The step for a piece that is on the disk or made here; "there" if nothing is left to do, else ""."""
    target = source.path(root, piece)
    if layout.present(target):
        entries = layout.unlinked_in_nested(target)
        if entries:
            words = f"link the {len(entries)} entries of {target / target.name} into {target}"
            return Step(words, partial(layout.link_nested, target, entries))
        return _other_file(piece, target) or "there"
    place = layout.elsewhere(root, source, piece)
    if place and not _other_file(piece, place):
        return Step(f"link {target} to {place}", partial(layout.link, target, place))
    if piece.generated:
        return Step(f"write {target}", partial(classnames.write_classnames, target))
    return ""


def _other_file(piece: Piece, target: Path) -> Step | None:
    """The step for a file that differs from the published one, which the user has to remove."""
    remote = piece.remote
    if not remote or piece.member or not remote.md5 or piece.above:  # the user may have other CuPL sentences
        return None
    md5 = calculate_md5(target)
    if md5 == remote.md5:
        return None
    return Step(
        f"{target} is not the published file (its md5 is {md5}, not {remote.md5}), so results could not be compared. "
        "Move it away and run this again to get the published file."
    )


def _words(source: Source, root: Path, remote: Remote, pieces: list[Piece]) -> str:
    targets = ", ".join(str(source.path(root, piece)) for piece in pieces)
    size = f" ({remote.size / 1e6:.1f} MB)" if remote.size else ""
    if (root / DOWNLOADS / remote.name).is_file():
        return f"check {root / DOWNLOADS / remote.name} and make {targets} of it"
    others = len(remote.urls) + bool(remote.drive) - 1
    more = f" (or {others} other address{'es' * (others > 1)})" if others else ""
    return f"download {remote.name}{size} from {remote.address}{more} and make {targets} of it"


def _get(source: Source, root: Path, remote: Remote, pieces: tuple[Piece, ...], keep: bool) -> None:
    path = fetch.fetch(remote, root / DOWNLOADS)
    folder = root / source.folder
    folder.mkdir(parents=True, exist_ok=True)
    if pieces[0].member:
        try:
            _unpack(path, folder, remote, pieces)
        except ValueError as error:
            where = f"It is {path}."
            if remote.address and not remote.md5:
                path.unlink()  # without a checksum only a new download helps
                where = "It is removed. Run this command again to fetch it."
            raise ValueError(f"{error} {where}") from error
    else:
        _place(path, source.path(root, pieces[0]))
    if remote.address and not keep:  # a file without an address is the user's own
        path.unlink()


def _unpack(path: Path, folder: Path, remote: Remote, pieces: tuple[Piece, ...]) -> None:
    with unpack.unpacked(path, folder, remote.inner) as content:
        found = {piece.target: unpack.find_member(content, piece.member) for piece in pieces}
        for target, place in found.items():
            layout.make_way(folder / target)
            os.replace(place, folder / target)


def _place(path: Path, target: Path) -> None:
    """Copy a file, then rename the copy, because the data set's folder may be on another disk than the downloads."""
    layout.make_way(target)
    with replacing(target) as temporary:
        shutil.copyfile(path, temporary)
