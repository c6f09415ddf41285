"""The views of images that are still to be encoded, as a data set for worker processes.

A file is read once. Where its digest is not remembered, the digest, the question whether its features are stored, the
decoded image and its views all come from the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from simnl.clip.database import StoredViews
from simnl.clip.views import ViewSpec, seeded, view_seed
from simnl.data.digests import FileContent
from simnl.data.images import decode_image, named
from simnl.files import read_with_version


class PendingFile(NamedTuple):
    """A file of which views may have to be encoded.

    Attributes:
        path: the file.
        digest: SHA-256 of its content; None where the file has to be read to know it.
        views: numbers of the views that are missing; where the digest is not known, of those that are wanted.
    """

    path: str
    digest: bytes | None
    views: tuple[int, ...]


class ReadFile(NamedTuple):
    """A file that was read. content: its digest; views: numbers of the views that were cut."""

    content: FileContent
    views: tuple[int, ...]


class PendingViews(Dataset):
    """The views of files that are still to be encoded.

    Args:
        files: the files.
        spec: the transform.
        stored: what is stored already. Of a file whose digest was not known, only the other views are cut.
    """

    def __init__(self, files: Sequence[PendingFile], spec: ViewSpec, stored: StoredViews):
        self._files, self._stored = files, stored
        self._transform, self._decoder = spec.build(), spec.decoder

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[ReadFile, list[Tensor]]:
        path, digest, views = self._files[index]
        with named(path):
            data, version = read_with_version(path)
            found = hashlib.sha256(data).digest()
            if digest is None:
                views = self._stored.missing(found, views)
            elif found != digest:
                views = ()  # its content has changed since; see `Filling`
            image = decode_image(data, self._decoder) if views else None
        pixels = []
        for view in views:
            with seeded(view_seed(found, view)):
                pixels.append(self._transform(image))
        return ReadFile(FileContent(path, version, found), views), pixels


def joined(items: list[tuple[ReadFile, list[Tensor]]]) -> tuple[list[ReadFile], Tensor | None]:
    """The items of a batch as one: all files, and all pixels (n, 3, H, W), None where there are none."""
    pixels = [view for _, views in items for view in views]
    return [file for file, _ in items], torch.stack(pixels) if pixels else None


def in_one_pass(
    paths: Sequence[str], digests: Sequence[bytes | None], views: Iterable[int], missing: dict[int, tuple[int, ...]]
) -> list[PendingFile]:
    """The files that have to be read, each once: those whose digest is not known, and those that lack views.

    Args:
        paths: the files, in any order, with repeats.
        digests: their digests, None where it is not known.
        views: numbers of the views that are wanted.
        missing: of the files with a digest, those that lack views, by position.
    """
    wanted, seen = tuple(views), set()
    files = []
    for position, (path, digest) in enumerate(zip(paths, digests, strict=True)):
        if digest is not None and position not in missing:
            continue
        name = digest or path  # images of equal content count once
        if name not in seen:
            seen.add(name)
            files.append(PendingFile(path, digest, wanted if digest is None else missing[position]))
    return files
