"""Labels for image files: decoded by threads, encoded in the towers' batches, and given in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from simnl.bars import bar as progress_bar
from simnl.data.images import UnreadableImage, reason_of
from simnl.fewshot.encoder import ImageEncoder
from simnl.fewshot.head_file import LoadedHead

AHEAD = 4  # batches of the towers that are decoded ahead
WORKERS = min(4, os.cpu_count() or 1)  # threads that decode


@dataclass(frozen=True)
class Prediction:
    """The prediction for an image.

    `path` is that of the image, `probabilities` are (C,), and `inputs` are the inputs of the head, (D,) or pixels.
    """

    path: str
    probabilities: Tensor
    inputs: Tensor

    def best(self, number: int) -> list[tuple[int, float]]:
        """The most probable classes with their probabilities, at most `number`."""
        top = self.probabilities.topk(min(number, len(self.probabilities)))
        return list(zip(top.indices.tolist(), top.values.tolist(), strict=True))


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be decoded, and why."""

    path: str
    reason: str


def predict(
    loaded: LoadedHead, encoder: ImageEncoder, paths: Sequence[str], *, workers: int = WORKERS, progress: bool = True
) -> Iterator[Prediction | Unreadable]:
    """The predictions of a head for image files, in their order.

    Args:
        loaded: the head.
        encoder: the encoder of the head (`LoadedHead.encoder`).
        paths: the paths of the images.
        workers: the number of threads that decode.
        progress: True to show a bar.

    Yields:
        A `Prediction`, or `Unreadable` for an image that cannot be decoded.

    Raises:
        NotFinite: features are NaN or infinite.
    """
    with progress_bar("Labelling images", len(paths), "image", shown=progress) as bar:
        waiting: list[tuple[str, Tensor | str]] = []  # in order, at most a batch of them decoded
        decoded = 0
        for path, pixels in _decoded(encoder, paths, workers):
            waiting.append((path, pixels))
            decoded += isinstance(pixels, Tensor)
            if decoded == encoder.batch_rows:
                yield from _labelled(loaded, encoder, waiting)
                bar.update(len(waiting))
                waiting, decoded = [], 0
        yield from _labelled(loaded, encoder, waiting)
        bar.update(len(waiting))


def _labelled(
    loaded: LoadedHead, encoder: ImageEncoder, entries: Sequence[tuple[str, Tensor | str]]
) -> Iterator[Prediction | Unreadable]:
    good = [(path, pixels) for path, pixels in entries if isinstance(pixels, Tensor)]
    rows: Iterator[tuple[Tensor, Tensor]] = iter(())
    if good:
        inputs = encoder.inputs(torch.stack([pixels for _, pixels in good]), [path for path, _ in good])
        rows = zip(loaded.probabilities(inputs), inputs, strict=True)
    for path, pixels in entries:
        yield Prediction(path, *next(rows)) if isinstance(pixels, Tensor) else Unreadable(path, pixels)


def _decoded(encoder: ImageEncoder, paths: Sequence[str], workers: int) -> Iterator[tuple[str, Tensor | str]]:
    """(path, pixels, or the reason why there are none) in order; not more than a few batches are held."""
    pool, running, left = ThreadPoolExecutor(max(1, workers)), deque[tuple[str, Future]](), deque(paths)
    try:
        while left or running:
            while left and len(running) < AHEAD * encoder.batch_rows:
                path = left.popleft()
                running.append((path, pool.submit(encoder.pixels, path)))
            path, future = running.popleft()
            try:
                yield path, future.result()
            except UnreadableImage as error:
                yield path, _reason(path, error)
    finally:
        pool.shutdown(cancel_futures=True)


def _reason(path: str, error: UnreadableImage) -> str:
    cause = error.__cause__
    if not Path(path).exists():
        return "there is no such file"
    return reason_of(cause or error)
