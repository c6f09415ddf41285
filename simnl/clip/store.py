"""The feature store: no image and no prompt is ever encoded twice.

Rows are raw (not normalised) features in float32 or, if asked for, in float16. They are addressed by content: the
weights' fingerprint (and the architecture, if they are of a file, which does not say with which activation it was
trained), the towers' precision, the number of rows that are encoded at once, the layer (image features may be those
before the last projection, or have those of patches beside them), the transform, the view's number, and a digest of the
image's bytes (or of the prompt). So all methods, shot counts, seeds and tables share the rows, a moved data folder is
read once and not encoded again, and another backbone or transform can never get the wrong features. A row has the same
bits whatever was encoded with it: in any order, resumed, or repaired (`FrozenCLIP.image_rows`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from simnl import sharing
from simnl.bars import bar as progress_bar
from simnl.clip.architectures import captions
from simnl.clip.database import FeatureDatabase
from simnl.clip.filling import Filling, Reading
from simnl.clip.finite import check_rows
from simnl.clip.model import FrozenCLIP
from simnl.clip.pending import PendingFile, in_one_pass
from simnl.clip.views import ViewSpec
from simnl.data.digests import FileDigests
from simnl.waiting import holding

log = logging.getLogger(__name__)

VERSION = 2  # raise when the meaning of a stored row changes
READ_ROWS = 4096  # rows in memory at once while streaming
READ_NUMBERS = 2**25  # numbers in memory at once while streaming, for long rows (with patches)
BATCHES = (1, 5)  # the towers' batches that are decoded and written at once: on a processor, on a GPU


class FeatureStore:
    """The features of one frozen CLIP, stored in a folder.

    Args:
        root: the folder, which any number of processes may share.
        clip: the model whose features are stored.
        num_workers: the number of processes that decode images. Features do not depend on it.
        batch_size: the number of rows that are decoded and written at once, rounded up to whole batches of the towers;
            0 for one such batch, or five on a GPU. The towers' own batches, and the features, do not depend on it.
        progress: True to show progress bars on long passes.
        half: True to round image features to float16 and store these, in entries of their own: half the disk.
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
        half: bool = False,
    ):
        self.root = Path(root).expanduser()
        self.clip = clip
        self.num_workers, self.progress, self._exclusive, self._half = num_workers, progress, exclusive, half
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
        contents = FileDigests(self.root).known(paths)
        if self._kept(spec, contents, views) is None:
            with closing(self._database("image", spec.digest)) as database:
                self._fill_images(database, paths, contents, spec, views)

    def stream(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> Iterator[Tensor]:
        """Yield features (V, n, D) chunk by chunk. Missing features are encoded first, and a chunk bounds the memory.

        If runs of one process share what they read, all rows are kept for the next run if they are few enough.
        """
        self._check_views(spec, views)
        known = FileDigests(self.root).known(paths)
        size = max(1, min(READ_ROWS, READ_NUMBERS // self.clip.image_dim) // len(views))
        rows = self._kept(spec, known, views)
        if rows is not None:
            yield from (chunk.clone() for chunk in rows.split(size, 1))  # copies, which the caller may change
            return
        kept = sharing.current()
        keeps = kept is not None and kept.fits(4 * len(views) * len(paths) * self.clip.image_dim)
        parts: list[Tensor] = []
        with closing(self._database("image", spec.digest)) as database:
            contents = self._fill_images(database, paths, known, spec, views)
            for chunk in self._read_in_chunks(database, paths, contents, spec, views, size):
                parts += [chunk.clone()] if keeps else []
                yield chunk
        if kept is not None and parts:
            rows = torch.cat(parts, 1)
            kept.put(self._key("image", spec.digest, contents, views), rows, rows.nbytes)

    def _kept(self, spec: ViewSpec, contents: Sequence[bytes | None], views: Sequence[int]) -> Tensor | None:
        """Rows (V, N, D) that an earlier run of this process has read; None where there are none."""
        kept, known = sharing.current(), [content for content in contents if content is not None]
        if kept is None or len(known) < len(contents):
            return None
        return kept.get(self._key("image", spec.digest, known, views))

    def _key(self, kind: str, detail: str, contents: Sequence[bytes], views: Sequence[int]) -> tuple:
        """The key of a list of rows: the file of the database, and the items and views in their order."""
        path = self._path(kind, self._content(kind, detail))
        return path, tuple(views), hashlib.sha256(b"".join(contents)).digest()

    def _read_in_chunks(self, database, paths, contents, spec: ViewSpec, views, size: int) -> Iterator[Tensor]:
        """Rows from the database, `size` images at a time. Damaged rows are encoded again first."""
        for start in range(0, len(paths), size):
            part = slice(start, start + size)

            def encode(missing, part=part):
                self._encode(database, in_one_pass(paths[part], contents[part], views, missing), spec)

            yield torch.from_numpy(self._read(database, contents[part], views, encode))

    def _fill_images(self, database: FeatureDatabase, paths, contents, spec: ViewSpec, views) -> list[bytes]:
        """Encode what is missing. contents: digests, None where a file has to be read to know it.

        Returns:
            The digests of all files, in the order of `paths`.
        """
        digests = FileDigests(self.root)
        if None in contents and not database.is_writable:  # what is missing could not be stored: only digests are read
            contents = digests.of(paths, "Reading images" if self.progress else "")
        missing = database.missing(contents, views)
        if None not in contents and not missing:
            return contents
        database.require_writable(sum(map(len, missing.values())))
        with self._alone(database):
            if None in contents:
                contents = digests.known(paths)  # another process may have read them meanwhile
            files = in_one_pass(paths, contents, views, database.missing(contents, views))
            learned = self._encode(database, files, spec) if files else {}
        return [learned[path] if known is None else known for path, known in zip(paths, contents, strict=True)]

    def _encode(self, database: FeatureDatabase, files: list[PendingFile], spec: ViewSpec) -> dict[str, bytes]:
        """Read files, and encode the views that they lack; the digests of those whose digest was not known, by path."""
        how = Reading(self.num_workers, self.batch_size, self.progress)
        filling = Filling(self.clip, database, FileDigests(self.root), spec, how)
        try:
            filling.run(files)
        finally:
            self.encoded_images += filling.encoded
        return filling.learned

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

            def encode(missing):
                self._encode_texts(database, unique, contents, list(missing))

            self._fill_texts(database, contents, encode)
            return torch.from_numpy(self._read(database, contents, (0,), encode)[0])

    def _fill_texts(self, database: FeatureDatabase, contents: list[bytes], encode) -> None:
        missing = database.missing(contents, (0,))
        if missing:
            database.require_writable(len(missing))
            with self._alone(database):
                missing = database.missing(contents, (0,))
                if missing:
                    encode(missing)

    def _encode_texts(self, database, prompts, contents, todo: list[int]) -> None:
        cut = self.clip.num_cut([prompts[i] for i in todo])
        if cut:
            log.warning(
                "%d of %d prompts are longer than the %d tokens that the text tower of %s takes, so they are cut.",
                cut, len(todo), self.clip.context_length, self.clip.arch,
            )  # fmt: skip
        with progress_bar("Encoding prompts", len(todo), "prompt", shown=self.progress) as bar:
            for start in range(0, len(todo), self.batch_size):
                part = todo[start : start + self.batch_size]
                sentences = [prompts[i] for i in part]
                features = self.clip.text_rows(self.clip.tokenize(sentences)).cpu()
                check_rows(features, self.clip, "text", sentences)
                rows = zip(part, features.numpy(), strict=True)
                database.write((contents[i], 0, row) for i, row in rows)
                bar.update(len(part))

    # ------------------------------------------------------------------ shared

    def _alone(self, database: FeatureDatabase):
        """Of several processes that fill a database at once, one encodes and the others wait for it."""
        what = f"encodes features for {database.path}"
        return holding(f"{database.path}.lock", what) if self._exclusive else nullcontext()

    @staticmethod
    def _read(database: FeatureDatabase, contents, views, encode):
        """Read rows (V, n, D). Damaged rows are encoded again first."""
        features, bad = database.read(contents, views)
        if bad:
            number = sum(map(len, bad.values()))
            log.warning("%d rows of %s are damaged, so they are encoded again.", number, database.path)
            database.require_writable(number)
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
        if clip.from_file:
            content["arch"] = clip.arch
        if captions(clip.arch):
            content["length"] = "raw"  # in earlier versions the rows of CoCa had unit length
        if self._with_patches(kind):
            content["layer"] = "with patches"
        elif self._is_half(kind):
            content["stored"] = "fp16"
        return content

    def _with_patches(self, kind: str) -> bool:
        return kind == "image" and self.clip.patches > 0

    def _is_half(self, kind: str) -> bool:
        """Whether rows are kept as float16; those with patches are so from the tower on, and need no entries apart."""
        return kind == "image" and (self._half or self.clip.patches > 0)

    def _path(self, kind: str, content: dict) -> Path:
        name = hashlib.sha256(repr(sorted(content.items())).encode()).hexdigest()[:16]
        return self.root / "features" / f"{kind}-{name}.sqlite"

    def _database(self, kind: str, detail: str) -> FeatureDatabase:
        content = self._content(kind, detail)
        width = self.clip.image_dim if kind == "image" else self.clip.embed_dim
        return FeatureDatabase(self._path(kind, content), width, content, half=self._is_half(kind))
