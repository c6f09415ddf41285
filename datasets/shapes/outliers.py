"""Outliers that need no download: figures that are no class of `shapes`, and images without any figure.

    unseen_shapes    other figures under the patterns of `shapes`, and the figures of `shapes` under the pattern `grid`
    plain_textures   a pattern that fills the image
    plain_noise      uniform noise, smooth noise and a single colour

An image depends on its name and on nothing else. They lie below `STORE.ROOT`, in a folder named after their sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.shapes.classes import CLASS_PATTERNS, KNOWN_FIGURES, OPAQUE_FIGURES
from datasets.shapes.dataset import render_missing, renderer_version
from datasets.shapes.figures import FIGURES
from datasets.shapes.render import PATTERNS, SIZE, image_generator, render, sample_scene
from simnl.data.outliers import Outliers, rendered

SEEN = {*KNOWN_FIGURES.values(), *OPAQUE_FIGURES.values()}
UNSEEN = [(figure, pattern) for figure in FIGURES if figure not in SEEN for pattern in CLASS_PATTERNS]
UNSEEN += [(figure, "grid") for figure in FIGURES if figure in SEEN]
PER_CLASS = 20  # images of a figure and pattern
PER_KIND = 120  # of a texture, or of a kind of noise
Painter = Callable[[], Image.Image]


def paint_figure(figure: str, pattern: str, index: int) -> Image.Image:
    """A figure as `shapes` renders it."""
    rng = image_generator("outlier", figure, pattern, index)
    return Image.fromarray(render(sample_scene(rng, figure, pattern), rng))


def paint_texture(pattern: str, index: int) -> Image.Image:
    """A square that is larger than the image, under a pattern."""
    rng = image_generator("texture", pattern, index)
    scene = sample_scene(rng, "square", pattern)
    return Image.fromarray(render(replace(scene, radius=4.0 * SIZE, centre=(SIZE / 2, SIZE / 2)), rng))


def paint_noise(kind: str, index: int) -> Image.Image:
    """Independent pixels (uniform), 6 x 6 random colours made smooth (smooth), or one colour (blank)."""
    rng = image_generator("noise", kind, index)
    side = {"uniform": SIZE, "smooth": 6, "blank": 1}[kind]
    pixels = (255.0 * rng.random((side, side, 3)) + 0.5).astype(np.uint8)
    return Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def version() -> str:
    """Hex digits that change with the sources of these images."""
    source = Path(__file__).read_text(encoding="utf-8")
    return hashlib.sha256((renderer_version() + source).encode()).hexdigest()[:12]


def make(name: str, store: Path, kinds: Mapping[str, Callable[[int], Image.Image]], count: int) -> Outliers:
    """Render `count` images of each kind (by its name) where they are missing."""
    root = store / "outliers" / version() / name
    painters: dict[str, Painter] = {
        f"{kind.replace(' ', '_')}/{index:03d}.png": partial(paint, index)
        for kind, paint in kinds.items()
        for index in range(count)
    }
    render_missing(root, painters, name)
    return Outliers(name, [str(root / path) for path in painters], list(kinds))


@rendered("unseen_shapes")
def unseen_shapes(store: Path) -> Outliers:
    """Figure and pattern pairs that are no class of `shapes`."""
    kinds = {f"{pattern} {figure}": partial(paint_figure, figure, pattern) for figure, pattern in UNSEEN}
    return make("unseen_shapes", store, kinds, PER_CLASS)


@rendered("plain_textures")
def plain_textures(store: Path) -> Outliers:
    """Patterns without a figure; a solid one is a plain colour, so it is left out."""
    kinds = {f"{pattern} texture": partial(paint_texture, pattern) for pattern in PATTERNS if pattern != "solid"}
    return make("plain_textures", store, kinds, PER_KIND)


@rendered("plain_noise")
def plain_noise(store: Path) -> Outliers:
    """No pattern and no figure."""
    kinds = {f"{kind} noise": partial(paint_noise, kind) for kind in ("uniform", "smooth", "blank")}
    return make("plain_noise", store, kinds, PER_KIND)
