"""UCF101 (Soomro et al., 2012): 101 actions, the middle frame of each video."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes


@DATASET_REGISTRY.register()
class UCF101(FewShotDataset):
    """`ucf101/UCF-101-midframes/Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg`; official test list 1."""

    config_name = "ucf101"
    dataset_dir = "ucf101"
    image_dir = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    published = Sizes(101, 7639, 1898, 3783)
    source = "the middle frames prepared by CoOp's authors (github.com/KaiyangZhou/CoOp, DATASETS.md)"
