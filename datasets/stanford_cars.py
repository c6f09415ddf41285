"""StanfordCars (Krause et al., 2013): 196 car models."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes
from simnl.data.matlab import load_mat


@DATASET_REGISTRY.register()
class StanfordCars(FewShotDataset):
    """`stanford_cars/cars_train/00001.jpg` and `cars_test/`; paths of the split start with either.

    The split file is not sorted by label, and draws follow it. Class names start with the year.
    """

    config_name = "stanford_cars"
    dataset_dir = "stanford_cars"
    split_file = "split_zhou_StanfordCars.json"
    published = Sizes(196, 6509, 1635, 8041)
    source = "copies of the original archives (the official links are dead: github.com/pytorch/vision/issues/7545)"

    def list_classes(self) -> list[tuple[str, list[str]]]:
        """The classes, from the annotations of both folders: `devkit/*.mat` and `cars_test_annos_withlabels.mat`."""
        meta = self.root / "devkit" / "cars_meta.mat"
        annotations = {
            "cars_train": self.root / "devkit" / "cars_train_annos.mat",
            "cars_test": self.root / "cars_test_annos_withlabels.mat",
        }
        for path in (meta, *annotations.values()):
            if not path.is_file():
                raise FileNotFoundError(self.help(f"a new split needs {path}", path.parent))
        names = [_year_first(str(name)) for name in load_mat(meta, "class_names")]
        images: list[list[str]] = [[] for _ in names]
        for folder, path in annotations.items():
            for row in load_mat(path, "annotations"):
                images[int(getattr(row, "class")) - 1].append(f"{folder}/{row.fname}")
        return list(zip(names, images, strict=True))


def _year_first(name: str) -> str:
    """`AM General Hummer SUV 2000` -> `2000 AM General Hummer SUV`."""
    words = name.split(" ")
    return " ".join([words[-1], *words[:-1]])
