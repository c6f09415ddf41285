"""Images encoded for the few-shot table of one data set: the store's own count, against the authors' protocol."""

from __future__ import annotations

import contextlib
import tempfile

import torch

from dassl.data.datasets import build_dataset
from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.fewshot.selection import selection_images
from simnl.fewshot.support import gather_support
from simnl.locations import CONFIGS
from simnl.runs.config import assemble, default_cache

TITLE = "Images encoded for the few-shot table of one data set"
METHODS = ("SimNL", "TipAdapterF", "APET", "TaskRes", "CLAP")
SHOTS = {"tiny": (1,), "fast": (1, 2, 4, 8, 16), "full": (1, 2, 4, 8, 16)}
SEEDS = {"tiny": (1,), "fast": (1, 2, 3), "full": (1, 2, 3)}


class NoEncoder(FrozenCLIP):
    """A CLIP that is not asked to do its work: only how often it would be is of interest."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Zeros, (B, D)."""
        return torch.zeros(len(pixels), self.embed_dim)


def run(size: str) -> dict:
    """Rows for the table; the data set is `shapes` (40 classes)."""
    with contextlib.redirect_stdout(None):  # the engine announces each data set
        return {"rows": counted(size)}


def counted(size: str) -> list[dict]:
    """Count what the runs ask for."""
    clip = load_clip("tiny-clip", "bundled")
    clip = NoEncoder(**{**clip.__dict__, "model": clip.model})
    with tempfile.TemporaryDirectory() as root:
        store = FeatureStore(root, clip, progress=False)
        official, rows = 0, []
        for number, method in enumerate(METHODS, 1):
            official += official_encodes(method, size)
            for shots in SHOTS[size]:
                for seed in SEEDS[size]:
                    encode_run(method, shots, seed, store)
            if number in (1, len(METHODS)):
                what = METHODS[0] if number == 1 else ", ".join(METHODS)
                counts = {"direct": official + evaluation_images(), "fast": store.encoded_images}
                rows.append(
                    {
                        "what": f"{what}: {len(SHOTS[size])} shot counts, {len(SEEDS[size])} seeds",
                        "seconds": counts,
                        "unit": "images",
                        "note": "protocol: views of the cache + one view per epoch, in each run; val and test once",
                    }
                )
    apart = 40 * sum(SHOTS[size]) * len(SEEDS[size]) * run_config("SimNL", 1, 1).VIEWS.CACHE + evaluation_images()
    for row in tuple(rows):
        what = f"{row['what']}, if no two draws had an image in common"
        rows.append(
            {**row, "what": what, "seconds": {**row["seconds"], "fast": apart}, "note": "computed, not counted"}
        )
    return rows


def run_config(method: str, shots: int, seed: int, preset: str = "repaired"):
    """The config of one run on `shapes`."""
    files = [CONFIGS / kind / f"{name}.yaml" for kind, name in (("backbones", "tiny"), ("datasets", "shapes"))]
    settings = {
        "TRAINER.NAME": method,
        "PRESET": preset,
        "DATASET.NUM_SHOTS": shots,
        "SEED": seed,
        "STORE.ROOT": default_cache(),
    }
    return assemble([*files, CONFIGS / "trainers" / f"{method}.yaml"], settings=settings)


def official_encodes(method: str, size: str) -> int:
    """Training images encoded by the authors' protocol over all shots and seeds: cache views, and epochs."""
    total = 0
    for shots in SHOTS[size]:
        for seed in SEEDS[size]:
            cfg = run_config(method, shots, seed, "official")
            cached = cfg.VIEWS.CACHE if method != "TaskRes" else 0  # it has no cache, and trains on new views
            epochs = 0 if method == "CLAP" else cfg.OPTIM.MAX_EPOCH  # it keeps the views of its cache
            total += 40 * shots * (cached + epochs)
    return total


def evaluation_images() -> int:
    """Validation and test images of `shapes`, encoded once."""
    dataset = build_dataset(run_config("SimNL", 1, 1))
    return len(dataset.full_val) + len(dataset.test)


def encode_run(method: str, shots: int, seed: int, store: FeatureStore) -> None:
    """Ask the store for what one run needs."""
    cfg = run_config(method, shots, seed)
    dataset, preprocess = build_dataset(cfg), store.clip.preprocess
    views = ViewSpec.of_training(preprocess, cfg.VIEWS.KIND, cfg.INPUT.RRCROP_SCALE)
    test_view = ViewSpec.test(preprocess)
    gather_support(cfg, dataset, store, views, lambda paths: store.images(paths, test_view)[0])
    store.warm([item.impath for item in (*selection_images(cfg, dataset), *dataset.test)], test_view)
