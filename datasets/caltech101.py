"""Caltech101 (Li et al., 2004): objects, 100 classes, without the background and the duplicate faces."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes


@DATASET_REGISTRY.register()
class Caltech101(FewShotDataset):
    """`caltech-101/101_ObjectCategories/<class>/image_0001.jpg`; labels put capitals first."""

    config_name = "caltech101"
    dataset_dir = "caltech-101"
    image_dir = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"
    published = Sizes(100, 4128, 1649, 2465)
    source = "https://data.caltech.edu/records/mzrjq-6wc02"
    ignored_folders = ("BACKGROUND_Google", "Faces_easy")
    renames = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}
