"""Find images that cannot be decoded. This module imports little, because every worker process imports it."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from PIL import Image

from simnl.bars import bar as progress_bar
from simnl.data.images import to_rgb

POOL_FROM = 2000  # images; for fewer, starting processes takes longer than it saves


def decode(path: str) -> str:
    """Why the program cannot decode an image; "" if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of odd metadata, which do not matter
            with Image.open(path) as image:
                to_rgb(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # errors of Pillow
        return str(error) or type(error).__name__
    return ""


def unreadable(paths: Sequence[str], name: str, workers: int = 0) -> list[tuple[str, str]]:
    """(path, reason) of the images that cannot be decoded, in order. With `workers` 0, all cores are used."""
    with progress_bar(f"decode {name}", len(paths), "image") as bar:
        found = []
        for path, problem in zip(paths, _problems(paths, workers), strict=True):
            bar.update()
            if problem:
                found.append((path, problem))
    return found


def _problems(paths: Sequence[str], workers: int) -> Iterator[str]:
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(paths) < POOL_FROM:
        yield from map(decode, paths)
        return
    # Spawned, not forked: the parent may have threads of its own.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(decode, paths, chunksize=64)
