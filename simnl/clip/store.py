"""The feature store: no image and no prompt is ever encoded twice.

Rows are raw (not normalised) float32 features, addressed by content: the weights' fingerprint, the towers' precision,
the number of rows that are encoded at once, the layer (image features may be those before the last projection, or
have those of patches beside them), the transform, the view's number, and a digest of the image's bytes (or of the
prompt). So all methods, shot counts, seeds and tables share the rows, a moved data folder is read once and not encoded
again, and another backbone or transform can never get the wrong features. A row has the same bits whatever was encoded
with it: in any order, resumed, or repaired (`FrozenCLIP.image_rows`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from simnl import sharing
from simnl.bars import Bar
from simnl.bars import bar as progress_bar
from simnl.clip.architectures import captions
from simnl.clip.batches import whole_batches
from simnl.clip.database import FeatureDatabase
from simnl.clip.finite import check_rows
from simnl.clip.model import FrozenCLIP
from simnl.clip.pending import PendingViews, joined
from simnl.clip.views import ViewSpec
from simnl.data.digests import FileDigests
from simnl.waiting import holding

log = logging.getLogger(__name__)

VERSION = 2  # raise when the meaning of a stored row changes
READ_ROWS = 4096  # rows in memory at once while streaming
READ_NUMBERS = 2**25  # numbers in memory at once while streaming, for long rows (with patches)
BATCHES = (1, 5)  # the towers' batches that are decoded and written at once: on a processor, on a GPU
WORKERS_PAY_FROM = 128  # with fewer views, the calling process decodes them


class FeatureStore:
    """The features of one frozen CLIP, stored in a folder.

    Args:
        root: the folder, which any number of processes may share.
        clip: the model whose features are stored.
        num_workers: the number of processes that decode images. Features do not depend on it.
        batch_size: the number of rows that are decoded and written at once, rounded up to whole batches of the towers;
            0 for one such batch, or five on a GPU. The towers' own batches, and the features, do not depend on it.
        progress: True to show progress bars on long passes.
        exclusive: True if one of several processes that need the same features encodes them while the others wait.
            False if the processes have divided the images among themselves (`simnl.studies.warming`).
    """

    def __init__(
        self,
        root: str | Path,
        clip: FrozenCLIP,
        num_workers: int = 0,
        batch_size: int = 0,
        progress: bool = True,
        exclusive: bool = True,
    ):
        self.root = Path(root).expanduser()
        self.clip = clip
        self.num_workers, self.progress, self._exclusive = num_workers, progress, exclusive
        batches = max(1, -(-batch_size // clip.batch_rows)) if batch_size else BATCHES[clip.device.type == "cuda"]
        self.batch_size = clip.batch_rows * batches
        self.encoded_images = 0  # views that this object has encoded, for tests and the run record

    # ------------------------------------------------------------------ images

    def images(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> Tensor:
        """Features of all images at once, (V, N, D) float32 on the CPU, in the order of `paths` and `views`."""
        if not paths:
            return torch.zeros(len(views), 0, self.clip.image_dim)
        features, start = torch.empty(len(views), len(paths), self.clip.image_dim), 0
        for chunk in self.stream(paths, spec, views):
            features[:, start : start + chunk.shape[1]] = chunk
            start += chunk.shape[1]
        return features

    def warm(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> None:
        """Encode missing features without returning any."""
        self._check_views(spec, views)
        contents = FileDigests(self.root).of(paths, progress=self.progress)
        kept = sharing.current()
        if kept is not None and kept.get(self._key("image", spec.digest, contents, views)) is not None:
            return
        with closing(self._database("image", spec.digest)) as database:
            self._fill_images(database, paths, contents, spec, views)

    def stream(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> Iterator[Tensor]:
        """Yield features (V, n, D) chunk by chunk. Missing features are encoded first, and a chunk bounds the memory.

        If runs of one process share what they read, all rows are kept for the next run if they are few enough.
        """
        self._check_views(spec, views)
        contents = FileDigests(self.root).of(paths, progress=self.progress)
        size = max(1, min(READ_ROWS, READ_NUMBERS // self.clip.image_dim) // len(views))
        kept, key = sharing.current(), self._key("image", spec.digest, contents, views)
        rows = kept.get(key) if kept is not None else None
        if rows is not None:
            yield from (chunk.clone() for chunk in rows.split(size, 1))  # copies, which the caller may change
            return
        keeps = kept is not None and kept.fits(4 * len(views) * len(paths) * self.clip.image_dim)
        parts: list[Tensor] = []
        for chunk in self._read_in_chunks(paths, contents, spec, views, size):
            parts += [chunk.clone()] if keeps else []
            yield chunk
        if kept is not None and parts:
            rows = torch.cat(parts, 1)
            kept.put(key, rows, rows.nbytes)

    def _key(self, kind: str, detail: str, contents: Sequence[bytes], views: Sequence[int]) -> tuple:
        """The key of a list of rows: the file of the database, and the items and views in their order."""
        path = self._path(kind, self._content(kind, detail))
        return path, tuple(views), hashlib.sha256(b"".join(contents)).digest()

    def _read_in_chunks(self, paths, contents, spec: ViewSpec, views: Sequence[int], size: int) -> Iterator[Tensor]:
        """Rows from the database, `size` images at a time. Missing rows are encoded first."""
        with closing(self._database("image", spec.digest)) as database:
            self._fill_images(database, paths, contents, spec, views)
            for start in range(0, len(paths), size):
                part = slice(start, start + size)

                def encode(todo, part=part):
                    self._encode_images(database, paths[part], contents[part], spec, todo)

                yield torch.from_numpy(self._read(database, contents[part], views, encode))

    def _fill_images(self, database, paths, contents, spec: ViewSpec, views: Sequence[int]) -> None:
        self._fill(database, contents, views, lambda todo: self._encode_images(database, paths, contents, spec, todo))

    def _encode_images(self, database, paths, contents, spec: ViewSpec, todo: list[tuple[int, int]]) -> None:
        pending = PendingViews(paths, contents, spec, todo)

        def write(keys, features):
            rows = features.cpu()
            check_rows(rows, self.clip, "image", [paths[i] for i, _ in keys])
            rows = rows.numpy()
            database.write((contents[i], view, row) for (i, view), row in zip(keys, rows, strict=True))
            self.encoded_images += len(keys)
            bar.update(len(keys))

        with self._bar(len(todo), "Encoding images", "view") as bar, ThreadPoolExecutor(1) as writer:
            writing: Future | None = None  # one batch is written while the next one is encoded
            for keys, pixels in whole_batches(self._loader(pending, len(todo)), self.batch_size):
                features = self.clip.image_rows(pixels)
                if writing is not None:
                    writing.result()
                writing = writer.submit(write, keys, features)
            if writing is not None:
                writing.result()

    def _loader(self, pending: PendingViews, number: int) -> DataLoader:
        """Decoded batches of about `batch_size` views, from worker processes if there are enough views."""
        return DataLoader(
            pending,
            batch_size=max(1, self.batch_size * len(pending) // number),  # images of number / len(pending) views
            num_workers=self.num_workers if number >= WORKERS_PAY_FROM else 0,
            collate_fn=joined,
            pin_memory=self.clip.device.type == "cuda",
            generator=torch.Generator(),  # otherwise the loader would draw from the global generator
        )

    @staticmethod
    def _check_views(spec: ViewSpec, views: Sequence[int]) -> None:
        if not views or min(views) < 0:
            raise ValueError(f"At least one view is needed, and their numbers start at 0. The views are {list(views)}.")
        if spec.crop_scale is None and list(views) != [0]:
            raise ValueError(f"The test transform has only view 0. The views are {list(views)}.")

    # ------------------------------------------------------------------ texts

    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Raw text features of prompts, (P, D) float32 on the CPU, in the order given (repeats allowed)."""
        unique = list(dict.fromkeys(prompts))
        contents = [hashlib.sha256(p.encode()).digest() for p in unique]
        kept, key = sharing.current(), self._key("text", str(self.clip.context_length), contents, (0,))
        features = kept.get(key) if kept is not None else None
        if features is None:
            features = self._read_texts(unique, contents)
            if kept is not None:
                kept.put(key, features, features.nbytes)
        place = {prompt: i for i, prompt in enumerate(unique)}
        return features[[place[p] for p in prompts]]  # a copy

    def _read_texts(self, unique: list[str], contents: list[bytes]) -> Tensor:
        """Rows (P, D) of different prompts. Missing rows are encoded first."""
        with closing(self._database("text", str(self.clip.context_length))) as database:

            def encode(todo):
                self._encode_texts(database, unique, contents, todo)

            self._fill(database, contents, (0,), encode)
            return torch.from_numpy(self._read(database, contents, (0,), encode)[0])

    def _encode_texts(self, database, prompts, contents, todo: list[tuple[int, int]]) -> None:
        cut = self.clip.num_cut([prompts[i] for i, _ in todo])
        if cut:
            log.warning(
                "%d of %d prompts are longer than the %d tokens that the text tower of %s takes, so they are cut.",
                cut, len(todo), self.clip.context_length, self.clip.arch,
            )  # fmt: skip
        with self._bar(len(todo), "Encoding prompts", "prompt") as bar:
            for start in range(0, len(todo), self.batch_size):
                part = [i for i, _ in todo[start : start + self.batch_size]]
                sentences = [prompts[i] for i in part]
                features = self.clip.text_rows(self.clip.tokenize(sentences)).cpu()
                check_rows(features, self.clip, "text", sentences)
                rows = zip(part, features.numpy(), strict=True)
                database.write((contents[i], 0, row) for i, row in rows)
                bar.update(len(part))

    # ------------------------------------------------------------------ shared

    def _fill(self, database: FeatureDatabase, contents, views, encode) -> None:
        """Encode missing rows. If several processes need them at once, one encodes and the others wait."""
        missing = database.missing(contents, views)
        if not missing:
            return
        database.require_writable(len(missing))
        what = f"encodes features for {database.path}"
        with holding(f"{database.path}.lock", what) if self._exclusive else nullcontext():
            todo = database.missing(contents, views)
            todo = list({(contents[i], view): (i, view) for i, view in todo}.values())  # encodes equal images once
            if todo:
                encode(todo)

    @staticmethod
    def _read(database: FeatureDatabase, contents, views, encode):
        """Read rows (V, n, D). Damaged rows are encoded again first."""
        features, bad = database.read(contents, views)
        if bad:
            log.warning("%d rows of %s are damaged, so they are encoded again.", len(bad), database.path)
            database.require_writable(len(bad))
            encode(bad)
            features, bad = database.read(contents, views)
        if bad:
            raise OSError(f"{database.path} does not return the features that were just written to it. Check the disk.")
        return features

    def _content(self, kind: str, detail: str) -> dict:
        """The description of the rows of a database."""
        clip = self.clip
        content = {
            "version": VERSION,
            "kind": kind,
            "weights": clip.fingerprint,
            "precision": clip.precision if kind == "image" else clip.text_precision,
            "rows": clip.batch_rows,
            "detail": detail,
        }
        if kind == "image" and clip.image_projection is not None:
            content["layer"] = "before the projection"
        if captions(clip.arch):
            content["length"] = "raw"  # in earlier versions the rows of CoCa had unit length
        if self._with_patches(kind):
            content["layer"] = "with patches"
        return content

    def _with_patches(self, kind: str) -> bool:
        return kind == "image" and self.clip.patches > 0

    def _path(self, kind: str, content: dict) -> Path:
        name = hashlib.sha256(repr(sorted(content.items())).encode()).hexdigest()[:16]
        return self.root / "features" / f"{kind}-{name}.sqlite"

    def _database(self, kind: str, detail: str) -> FeatureDatabase:
        content = self._content(kind, detail)
        width = self.clip.image_dim if kind == "image" else self.clip.embed_dim
        return FeatureDatabase(self._path(kind, content), width, content, half=self._with_patches(kind))

    def _bar(self, total: int, what: str, unit: str) -> Bar:
        return progress_bar(what, total, unit, shown=self.progress)
