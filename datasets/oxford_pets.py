"""OxfordPets (Parkhi et al., 2012): 37 breeds of cats and dogs."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes
from simnl.data.listing import list_images


@DATASET_REGISTRY.register()
class OxfordPets(FewShotDataset):
    """`oxford_pets/images/Abyssinian_1.jpg`: one folder, the class is in the file name; official test set."""

    config_name = "oxford_pets"
    dataset_dir = "oxford_pets"
    image_dir = "images"
    split_file = "split_zhou_OxfordPets.json"
    published = Sizes(37, 2944, 736, 3669)
    source = "https://www.robots.ox.ac.uk/~vgg/data/pets/"

    def list_classes(self) -> list[tuple[str, list[str]]]:
        """The class is the file name without its number, in lower case; labels follow the names' order."""
        classes: dict[str, list[str]] = {}
        for image in list_images(self.image_root):
            classes.setdefault(image.rpartition("_")[0].lower(), []).append(image)
        return sorted(classes.items())
