"""EuroSAT, RGB version (Helber et al., 2019): satellite images, 10 kinds of land use."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes


@DATASET_REGISTRY.register()
class EuroSAT(FewShotDataset):
    """`eurosat/2750/<Class>/<Class>_1.jpg`; the split file holds spelled-out class names already."""

    config_name = "eurosat"
    dataset_dir = "eurosat"
    image_dir = "2750"
    split_file = "split_zhou_EuroSAT.json"
    published = Sizes(10, 13500, 5400, 8100)
    source = "https://github.com/phelber/EuroSAT"
    renames = {
        "AnnualCrop": "Annual Crop Land",
        "HerbaceousVegetation": "Herbaceous Vegetation Land",
        "Highway": "Highway or Road",
        "Industrial": "Industrial Buildings",
        "Pasture": "Pasture Land",
        "PermanentCrop": "Permanent Crop Land",
        "Residential": "Residential Buildings",
        "SeaLake": "Sea or Lake",
    }
