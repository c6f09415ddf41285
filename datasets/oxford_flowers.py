"""OxfordFlowers, that is Flowers-102 (Nilsback and Zisserman, 2008): 102 flowers."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes
from simnl.data.matlab import load_mat
from simnl.sealed import read_json


@DATASET_REGISTRY.register()
class OxfordFlowers(FewShotDataset):
    """`oxford_flowers/jpg/image_00001.jpg`: one folder. The split file starts at label 76."""

    config_name = "oxford_flowers"
    dataset_dir = "oxford_flowers"
    image_dir = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"
    published = Sizes(102, 4093, 1633, 2463)
    source = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"

    def list_classes(self) -> list[tuple[str, list[str]]]:
        """The classes, from `imagelabels.mat` (label per image, from 1) and `cat_to_name.json` (name of each label)."""
        files = {name: self.root / name for name in ("imagelabels.mat", "cat_to_name.json")}
        for path in files.values():
            if not path.is_file():
                raise FileNotFoundError(self.help(f"a new split needs {path}", self.root))
        table = read_json(files["cat_to_name.json"])
        try:
            names = {int(key): name for key, name in table.items()}
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{files['cat_to_name.json']} must map label numbers to names: {error}.") from error
        classes: dict[int, list[str]] = {}
        for number, label in enumerate(load_mat(files["imagelabels.mat"], "labels"), start=1):
            classes.setdefault(int(label), []).append(f"image_{number:05d}.jpg")
        return [(names[label], images) for label, images in sorted(classes.items())]
