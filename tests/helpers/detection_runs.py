"""Small runs on a folder of images, half of whose classes are known."""

from __future__ import annotations

from pathlib import Path

from helpers.images import make_images
from simnl.locations import CONFIGS
from simnl.results.tables import find_records
from simnl.runs.config import assemble
from simnl.runs.logs import run_log
from simnl.runs.run import run_one

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis")  # five are known


def make_place(root: Path) -> Path:
    """A folder of images of these classes, and one of strangers."""
    for number, name in enumerate(NAMES):
        make_images(root / "images" / name, 10, size=16, seed=number)
    make_images(root / "strangers" / "yeti", 7, size=16, seed=100)
    return root


def train(root: Path, method: str, *options: str) -> dict:
    """The record of a run on the known classes."""
    settings = {
        "TRAINER.NAME": method, "DATASET.CONFIG": "imagefolder", "DATASET.NUM_SHOTS": 2, "SEED": 3,
        "STORE.ROOT": str(root / "cache"), "OUTPUT_DIR": str(root / f"{method}{len(options)}"), "USE_CUDA": False,
        "DATASET.FOLDER": str(root / "images"), "PROMPTS.POSITIVE": ["a photo of a {}."], "VERBOSE": False,
        "DATASET.SUBSAMPLE_CLASSES": "base",
    }  # fmt: skip
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
    cfg = assemble([*files, CONFIGS / "trainers" / f"{method}.yaml"], ["OPTIM.MAX_EPOCH", "2", *options], settings)
    with run_log(cfg.OUTPUT_DIR, quiet=True):
        run_one(cfg)
    return find_records([cfg.OUTPUT_DIR])[0]
