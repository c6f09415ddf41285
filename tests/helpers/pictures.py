"""A folder of rendered pictures of a few classes, in parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets.shapes.dataset import CLASSES, render_image

NAMES = ("dotted star", "solid heart", "striped square")


@dataclass(frozen=True)
class Pictures:
    """Paths and class names of the parts `train`, `val` and `test`."""

    folder: Path
    parts: dict[str, tuple[list[str], list[str]]]

    def __getitem__(self, part: str) -> tuple[list[str], list[str]]:
        return self.parts[part]


def make_pictures(folder: Path, train: int = 2, val: int = 2, test: int = 3) -> Pictures:
    """So many pictures of each class, as <part>/<class>/<number>.png."""
    kinds = {kind.name: kind for kind in CLASSES}
    parts: dict[str, tuple[list[str], list[str]]] = {}
    for part, count in (("train", train), ("val", val), ("test", test)):
        paths, labels = parts.setdefault(part, ([], []))
        for name in NAMES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                path = folder / part / name / f"{number}.png"
                render_image(part, kinds[name], number, "photo").save(path)
                paths.append(str(path))
                labels.append(name)
    return Pictures(folder, parts)
