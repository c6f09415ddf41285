"""Encoding the views that a feature database lacks: files are read ahead by workers, encoded, and written meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from simnl.bars import bar as progress_bar
from simnl.clip.batches import whole_batches
from simnl.clip.database import FeatureDatabase, StoredViews
from simnl.clip.finite import check_rows
from simnl.clip.model import FrozenCLIP
from simnl.clip.pending import PendingFile, PendingViews, ReadFile, joined
from simnl.clip.views import ViewSpec
from simnl.data.digests import CHUNK, FileContent, FileDigests
from simnl.data.images import UnreadableImage

WORKERS_PAY_FROM = 128  # fewer views than this are decoded in the calling process
Key = tuple[bytes, int, str]  # digest of an image, number of the view, path for messages


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        workers: processes that decode; features do not depend on it.
        batch_size: rows that are decoded, and written, at once.
        progress: show a progress bar.
    """

    workers: int
    batch_size: int
    progress: bool


class Filling:
    """One pass over files whose digests or features are missing.

    Args:
        clip: the model.
        database: where its features go.
        digests: where digests are remembered.
        spec: the transform.
        how: how files are read.

    Attributes:
        encoded: how many views have been encoded.
        learned: the digests of files whose digest was not known, by path.
    """

    def __init__(self, clip: FrozenCLIP, database: FeatureDatabase, digests: FileDigests, spec: ViewSpec, how: Reading):
        self._clip, self._database, self._digests, self._spec, self._how = clip, database, digests, spec, how
        self.encoded = 0
        self.learned: dict[str, bytes] = {}

    def run(self, files: list[PendingFile]) -> None:
        """Encode and store; what was done before an error or an interruption stays.

        Raises:
            UnreadableImage: a file cannot be read or decoded, or has changed; NotFinite: features are NaN or infinite.
            OSError: nothing can be written.
        """
        total = sum(len(file.views) for file in files)
        with (
            progress_bar("Encoding images", total, "view", shown=self._how.progress) as self._bar,
            ThreadPoolExecutor(1) as writer,
        ):
            writing: Future | None = None  # one batch is written while the next one is encoded
            for keys, pixels in whole_batches(self._pixels(files, total), self._how.batch_size):
                features = self._clip.image_rows(pixels)
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._write, keys, features)
            if writing is not None:
                writing.result()

    def _write(self, keys: list[Key], features: Tensor) -> None:
        rows = features.cpu().half() if self._database.half else features.cpu()
        check_rows(rows, self._clip, "image", [path for _, _, path in keys])
        self._database.write((digest, view, row) for (digest, view, _), row in zip(keys, rows.numpy(), strict=True))
        self.encoded += len(keys)
        self._bar.update(len(keys))

    def _pixels(self, files: list[PendingFile], total: int) -> Iterator[tuple[list[Key], Tensor]]:
        """Views that are to be encoded, in the order of the files; digests are remembered on the way."""
        unknown = {file.path: len(file.views) for file in files if file.digest is None}
        expected = {file.path: file.digest for file in files if file.digest is not None}
        done: dict[bytes, tuple[int, ...]] = {}
        fresh: list[FileContent] = []
        with closing(StoredViews(self._database.path)) as stored:
            for read, pixels in self._loader(files, total, stored):
                some = [content for content, _ in read if content.path in unknown]
                self._require_unchanged([c for c, _ in read if expected.get(c.path, c.digest) != c.digest])
                self.learned |= {path: digest for path, _, digest in some}
                fresh += some
                keys, rows = _not_seen(read, done)
                self._bar.update(sum(unknown.pop(content.path, len(views)) for content, views in read) - len(keys))
                if keys:
                    yield keys, pixels if len(rows) == len(pixels) else pixels[rows]
                if len(fresh) >= CHUNK:
                    self._digests.remember(fresh)
                    fresh.clear()
        self._digests.remember(fresh)

    def _require_unchanged(self, changed: list[FileContent]) -> None:
        """Refuse files whose content is not that of the remembered digest: their features would get its key.

        The new digests are remembered, so that the next run finds what belongs to them.
        """
        if changed:
            self._digests.remember(changed)
            raise UnreadableImage(
                f"{changed[0].path} has another content than when it was last read. Either it was changed while images "
                "were encoded, or its size and time stayed as they were. Run the command again."
            )

    def _loader(self, files: list[PendingFile], total: int, stored: StoredViews) -> DataLoader:
        """Decoded batches of about `batch_size` views, from worker processes where that pays."""
        return DataLoader(
            PendingViews(files, self._spec, stored),
            batch_size=max(1, self._how.batch_size * len(files) // total),  # files; each has total / len(files) views
            num_workers=self._how.workers if total >= WORKERS_PAY_FROM else 0,
            collate_fn=joined,
            pin_memory=self._clip.device.type == "cuda",
            generator=torch.Generator(),  # its own, or the loader would draw from the global one, and change it
        )


def _not_seen(read: list[ReadFile], done: dict[bytes, tuple[int, ...]]) -> tuple[list[Key], list[int]]:
    """The views that no file of equal content has had before, and their rows among all views of the batch.

    done: digest -> numbers of views; those of the batch are added.
    """
    keys, rows, row = [], [], 0
    for (path, _, digest), views in read:
        before = done.get(digest, ())
        for view in views:
            if view not in before:
                keys.append((digest, view, path))
                rows.append(row)
            row += 1
        done[digest] = views if not before else tuple({*before, *views})
    return keys, rows
