"""The views of images that are still to be encoded, as a data set for worker processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from simnl.clip.views import ViewSpec, seeded, view_seed
from simnl.data.images import read_image


class PendingViews(Dataset):
    """The views that are still to be encoded, grouped by image so that each file is decoded once."""

    def __init__(self, paths: Sequence[str], contents: Sequence[bytes], spec: ViewSpec, todo: list[tuple[int, int]]):
        groups: dict[int, list[int]] = {}
        for position, view in todo:
            groups.setdefault(position, []).append(view)
        self._groups = list(groups.items())
        self._paths, self._contents, self._transform = paths, contents, spec.build()

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> tuple[list[tuple[int, int]], Tensor]:
        position, views = self._groups[index]
        image = read_image(self._paths[position])
        pixels = []
        for view in views:
            with seeded(view_seed(self._contents[position], view)):
                pixels.append(self._transform(image))
        return [(position, view) for view in views], torch.stack(pixels)


def joined(items: list[tuple[list[tuple[int, int]], Tensor]]) -> tuple[list[tuple[int, int]], Tensor]:
    """The items of a batch as one: all keys, and all pixels (n, 3, H, W)."""
    return [key for keys, _ in items for key in keys], torch.cat([pixels for _, pixels in items])
