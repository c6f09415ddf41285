"""ImageNet-A (Hendrycks et al., 2021): natural adversarial images of 200 ImageNet classes, for test."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import Sizes
from simnl.data.wnids import WnidFolders


@DATASET_REGISTRY.register()
class ImageNetA(WnidFolders):
    """`imagenet-adversarial/imagenet-a/<wnid>/*`."""

    config_name = "imagenet_a"
    dataset_dir = "imagenet-adversarial"
    image_dir = "imagenet-a"
    published = Sizes(200, 0, 0, 7500)
    source = "https://github.com/hendrycks/natural-adv-examples"
    eval_only = True
