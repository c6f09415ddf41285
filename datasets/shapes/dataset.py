"""`shapes`: a small benchmark that is rendered on first use, and three shifted variants of it.

The images lie below `STORE.ROOT`, in a folder named after the renderer's source, so that a changed renderer never
meets old images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY
from datasets.shapes import classes, figures
from datasets.shapes import render as renderer
from datasets.shapes.classes import CLASSES, SPLITS, ShapeClass
from datasets.shapes.render import image_generator, render, sample_scene
from simnl.bars import bar as progress_bar
from simnl.data.base import FewShotDataset, Sizes
from simnl.data.listing import find_missing
from simnl.data.splits import Item, Split, read_split
from simnl.files import make_cache, replacing
from simnl.waiting import holding


def renderer_version() -> str:
    """Hex digits that change with the source of figures, renderer or classes."""
    digest = hashlib.sha256()
    for module in (figures, renderer, classes):
        digest.update(Path(module.__file__).read_text(encoding="utf-8").encode())
    return digest.hexdigest()[:12]


def render_image(part: str, kind: ShapeClass, index: int, style: str) -> Image.Image:
    """Render image number `index` of a class in a part ("train", "val", "test"); depends on nothing else."""
    rng = image_generator(part, kind.name, index, style)
    return Image.fromarray(render(sample_scene(rng, kind.figure, kind.pattern, style), rng))


def render_missing(root: Path, painters: Mapping[str, Callable[[], Image.Image]], what: str) -> None:
    """Render the images that are not there. Each is renamed into place when it is whole, so neither a killed run nor a
    second one at the same time leaves a part of an image behind.

    Args:
        root: the folder.
        painters: what makes each image, by its path below the folder.
        what: they are, for the progress bar.
    """
    if root.is_dir() and not find_missing(root, painters):
        return
    root.mkdir(parents=True, exist_ok=True)
    with holding(f"{root}.lock", f"renders the images in {root}"):
        for left_over in root.glob("**/.*.tmp"):
            left_over.unlink(missing_ok=True)
        missing = find_missing(root, painters)
        with progress_bar(f"Rendering {what}", len(missing), "image") as bar:
            for path in missing:
                with replacing(root / path) as temporary:
                    painters[path]().save(temporary, format="PNG", compress_level=1)
                bar.update()


@DATASET_REGISTRY.register()
class Shapes(FewShotDataset):
    """40 classes, figure x fill pattern; 32 / 10 / 45 images per class for training, validation and test."""

    config_name = "shapes"
    bundled_dir = Path(__file__).resolve().parent  # holds the CuPL sentences
    style = "photo"
    published = Sizes(40, 1280, 400, 1800)

    def find_root(self, cfg) -> Path:
        """`<STORE.ROOT>/shapes/<version>/<style>`, with every image in it."""
        root = make_cache(cfg.STORE.ROOT).resolve() / "shapes" / renderer_version() / self.style
        try:
            self._render_missing(root)
        except OSError as error:
            raise OSError(
                f"{type(self).__name__}: its images cannot be written below {root} ({error}). Make room there, or "
                "set CACHE (STORE.ROOT) to a folder that you can write to."
            ) from error
        return root

    def load_split(self, cfg) -> Split:
        """The split that the images are rendered for, or DATASET.SPLIT_FILE."""
        if cfg.DATASET.SPLIT_FILE:
            return read_split(self.split_path(cfg))
        parts = {part: [item for item, *_ in self._plan() if item.path.startswith(f"{part}/")] for part in SPLITS}
        return Split(
            parts["train"], parts["val"] or None, parts["test"], source=f"the {self.config_name} renderer", listed=True
        )

    def _plan(self) -> list[tuple[Item, str, ShapeClass, int]]:
        """Every image: its item, and the part, class and index that it is rendered from."""
        parts = ["test"] if self.eval_only else list(SPLITS)
        return [
            (Item(f"{part}/{kind.name.replace(' ', '_')}/{index:03d}.png", kind.label, kind.name), part, kind, index)
            for part in parts
            for kind in CLASSES
            for index in range(SPLITS[part])
        ]

    def _render_missing(self, root: Path) -> None:
        painters = {item.path: partial(self._paint, part, kind, index) for item, part, kind, index in self._plan()}
        render_missing(root, painters, self.config_name)

    def _paint(self, part: str, kind: ShapeClass, index: int) -> Image.Image:
        return render_image(part, kind, index, self.style)


class _ShiftedShapes(Shapes):
    eval_only = True
    has_val = False
    published = Sizes(40, 0, 0, 1800)


@DATASET_REGISTRY.register()
class ShapesOutline(_ShiftedShapes):
    """Line drawings of the classes of `shapes`: test images only."""

    config_name = "shapes_outline"
    style = "outline"


@DATASET_REGISTRY.register()
class ShapesInverted(_ShiftedShapes):
    """`shapes` with inverted intensities, light figures on dark ground: test images only."""

    config_name = "shapes_inverted"
    style = "inverted"


@DATASET_REGISTRY.register()
class ShapesNoise(_ShiftedShapes):
    """`shapes` under heavy noise: test images only."""

    config_name = "shapes_noise"
    style = "noise"
