"""Food101 (Bossard et al., 2014): 101 dishes."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes


@DATASET_REGISTRY.register()
class Food101(FewShotDataset):
    """`food-101/images/<class>/<id>.jpg`; CoOp's own 50/20/30 split, not the official one."""

    config_name = "food101"
    dataset_dir = "food-101"
    image_dir = "images"
    split_file = "split_zhou_Food101.json"
    published = Sizes(101, 50500, 20200, 30300)
    source = "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/"
