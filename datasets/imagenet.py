"""ImageNet (Deng et al., 2009; ILSVRC 2012: 1000 classes), or any part of it in whole class folders."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import Sizes
from simnl.data.listing import some
from simnl.data.splits import Split
from simnl.data.wnids import IMAGENET_CLASSES, IMAGENET_DIR, IMAGENET_TRAIN, WnidFolders


@DATASET_REGISTRY.register()
class ImageNet(WnidFolders):
    """`imagenet/images/{train,val}/<wnid>/*.JPEG` and `imagenet/classnames.txt`.

    The label is the position of the folder among the sorted training folders. The test images are the
    official validation set. There is no validation part: validation images come from the training images that
    the draw left. Files are sorted by name, so a draw does not depend on the disk (CoOp's does: it keeps the
    disk's order).
    """

    config_name = "imagenet"
    dataset_dir = IMAGENET_DIR
    image_dir = "images"
    published = Sizes(IMAGENET_CLASSES, 1281167, 0, 50000)
    source = "https://image-net.org/challenges/LSVRC/2012/ (after registration)"
    has_val = False
    interleaved_noise = True

    def list_split(self) -> Split:
        """All images below `images/train` and `images/val`."""
        train, val = self.root / IMAGENET_TRAIN, self.image_root / "val"
        folders = self.class_folders(train)
        self._require_same_folders(folders, self.class_folders(val))
        names = self.names_of(folders, folders)
        return Split(
            self.list_items(train, folders, names),
            None,
            self.list_items(val, folders, names),
            source=str(self.image_root),
            listed=True,
        )

    def _require_same_folders(self, train: list[str], val: list[str]) -> None:
        differing = sorted(set(train) ^ set(val))
        if differing:
            raise ValueError(
                f"ImageNet: {self.image_root}/train and /val must hold the same class folders; in one only: "
                f"{some(differing)}. The official validation images come unsorted: give each class a folder."
            )
