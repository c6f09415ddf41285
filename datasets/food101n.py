"""Food-101N (Lee et al., CVPR 2018): the classes of Food101, with training images and labels from the web."""

from __future__ import annotations

from collections.abc import Sequence

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes
from simnl.data.listing import list_folders, list_images, some
from simnl.data.splits import Item, Split, read_split

TEST = "food-101"


@DATASET_REGISTRY.register()
class Food101N(FewShotDataset):
    """`food-101n/images/<class>/*.jpg` to train on, and the test images of `food101` beside it, under CoOp's split.

    About 20 % of the training labels are wrong, and which ones is not known. There is no validation part, so validation
    images are drawn from the training images that are left, and have labels of the same kind.
    """

    config_name = "food101n"
    dataset_dir = "food-101n"
    image_dir = "images"
    label_files = (f"../{TEST}/split_zhou_Food101.json",)
    published = Sizes(101, 310009, 0, 30300)
    source = "https://kuanghuei.github.io/Food-101N/"
    has_val = False

    def load_split(self, cfg) -> Split:
        """Training images off the class folders, in the order of their names; test images of Food101's split.

        Raises:
            FileNotFoundError: no split file of Food101.
            ValueError: the folders are not the classes of that split.
        """
        path = self.split_path(cfg) if cfg.DATASET.SPLIT_FILE else self.root.parent / TEST / "split_zhou_Food101.json"
        if not path.is_file():
            raise FileNotFoundError(
                self.help(f"no split file {path} of food101, whose test images it is tested on", path.parent)
            )
        test = read_split(path, val_required=False).test
        train = self._training_items({item.path.split("/")[0]: item for item in test})
        self.image_root = self.root.parent  # above both folders of images
        return Split(train, None, [item._replace(path=f"{TEST}/images/{item.path}") for item in test], source=str(path))

    def _training_items(self, classes: dict[str, Item]) -> Sequence[Item]:
        folders = list_folders(self.image_root)
        if differing := sorted(set(folders) ^ set(classes)):
            raise ValueError(
                f"{self.image_root} must hold a folder for each class of {TEST}, under the same name; in one only: "
                f"{some(differing)}."
            )
        return [
            classes[folder]._replace(path=f"{self.root.name}/{self.image_dir}/{folder}/{name}")
            for folder in sorted(folders, key=lambda folder: classes[folder].label)
            for name in list_images(self.image_root / folder)
        ]
