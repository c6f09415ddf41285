"""ImageNet-R (Hendrycks et al., 2021): renditions of 200 ImageNet classes; evaluation only."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import Sizes
from simnl.data.wnids import WnidFolders


@DATASET_REGISTRY.register()
class ImageNetR(WnidFolders):
    """`imagenet-rendition/imagenet-r/<wnid>/*`."""

    config_name = "imagenet_r"
    dataset_dir = "imagenet-rendition"
    image_dir = "imagenet-r"
    published = Sizes(200, 0, 0, 30000)
    source = "https://github.com/hendrycks/imagenet-r"
    eval_only = True
