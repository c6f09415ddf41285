"""Describable Textures (Cimpoi et al., 2014): 47 textures."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes


@DATASET_REGISTRY.register()
class DescribableTextures(FewShotDataset):
    """`dtd/images/<class>/<class>_0001.jpg`; CoOp's own 50/20/30 split, not the official ones."""

    config_name = "dtd"
    dataset_dir = "dtd"
    image_dir = "images"
    split_file = "split_zhou_DescribableTextures.json"
    published = Sizes(47, 2820, 1128, 1692)
    source = "https://www.robots.ox.ac.uk/~vgg/data/dtd/"
