"""ImageNet-Sketch (Wang et al., 2019): sketches of the ImageNet classes; evaluation only."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import Sizes
from simnl.data.wnids import IMAGENET_CLASSES, WnidFolders


@DATASET_REGISTRY.register()
class ImageNetSketch(WnidFolders):
    """`imagenet-sketch/images/<wnid>/*.JPEG`."""

    config_name = "imagenet_sketch"
    dataset_dir = "imagenet-sketch"
    image_dir = "images"
    published = Sizes(IMAGENET_CLASSES, 0, 0, 50889)
    source = "https://github.com/HaohanWang/ImageNet-Sketch"
    eval_only = True
