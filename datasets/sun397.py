"""SUN397 (Xiao et al., 2010): 397 scenes."""

from __future__ import annotations

import os

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes
from simnl.data.listing import list_folders, list_images


@DATASET_REGISTRY.register()
class SUN397(FewShotDataset):
    """`sun397/SUN397/a/athletic_field/outdoor/sun_*.jpg`: classes are folders two or three levels deep."""

    config_name = "sun397"
    dataset_dir = "sun397"
    image_dir = "SUN397"
    split_file = "split_zhou_SUN397.json"
    published = Sizes(397, 15880, 3970, 19850)
    source = "https://vision.princeton.edu/projects/2010/SUN/"

    def list_classes(self) -> list[tuple[str, list[str]]]:
        """A class is every folder with images; its name drops the letter and turns the rest round."""
        classes = []
        for folder in self._folders_below("", ()):
            images = list_images(self.image_root / folder)
            if images:
                name = " ".join(reversed(folder.split("/")[1:]))
                classes.append((name, [f"{folder}/{image}" for image in images]))
        return classes

    def _folders_below(self, folder: str, above: tuple[str, ...]) -> list[str]:
        """All folders in `folder`; links back to it or to one `above` it are left out."""
        above += (os.path.realpath(self.image_root / folder),)
        found = []
        for name in list_folders(self.image_root / folder):
            path = f"{folder}/{name}" if folder else name
            if os.path.realpath(self.image_root / path) not in above:
                found += [path, *self._folders_below(path, above)]
        return found
