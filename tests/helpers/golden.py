"""Golden tensors: synthetic inputs and what the authors' released code computes from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simnl.locations import CONFIGS
from simnl.runs.config import assemble

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / "shared" / "golden"
BUNDLED = REPO / "tests" / "goldens" / "simnl"  # K = 4 of the same set: the suite proves itself without SHARED
SHARED_SETTINGS = [f"shared-{shots}" for shots in (1, 2, 4, 8, 16)]
SETTINGS = ["bundled-4", *SHARED_SETTINGS]


class Golden:
    """Inputs and official outputs for one shot count, with rows and classifiers turned to our (rows, D) layout."""

    def __init__(self, setting: str):
        source, shots = setting.split("-")
        folder = BUNDLED if source == "bundled" else SHARED
        if not folder.is_dir():
            pytest.skip(f"{folder} is not here: only the bundled golden (K = 4) is checked")
        self.shots = int(shots)
        self.meta = json.loads((folder / "index.json").read_text())["meta"]
        self.inputs = {k.removeprefix("inputs/"): v for k, v in load_file(folder / "inputs.safetensors").items()}
        self.outputs = load_file(folder / f"official_K{shots}.safetensors")

    def text(self, name: str) -> torch.Tensor:
        """Unit classifier (C, D): `template`, `cupl` or `negative`."""
        return self.inputs[f"w_{name}"].T.contiguous()

    def shot_views(self) -> torch.Tensor:
        """Raw features of the K-shot images, (V, C*K, D)."""
        full, classes = self.meta["spec"]["K"], self.meta["spec"]["C"]
        rows = (torch.arange(classes)[:, None] * full + torch.arange(self.shots)).reshape(-1)
        return self.inputs["shots_K16"][:, rows]

    def batches(self, labels: torch.Tensor, batch_size: int):
        """(features, labels) of every training step, in the official order."""
        views, order = self.shot_views(), self.inputs[f"order_K{self.shots}"].long()
        rows = len(labels)
        for start in range(0, len(order), rows):
            for part in order[start : start + rows].split(batch_size):
                yield views[part[:, 0], part[:, 1]], labels[part[:, 1]]


def official_cfg(trainer: str, **options):
    """The config of a trainer's `official` preset; options are keys of OPTIM, e.g. the step size of the golden run."""
    files = [CONFIGS / "backbones" / "rn50.yaml", CONFIGS / "datasets" / "dtd.yaml"]
    pairs = [text for key, value in options.items() for text in (f"OPTIM.{key}", str(value))]
    settings = {"TRAINER.NAME": trainer, "PRESET": "official"}
    return assemble([*files, CONFIGS / "trainers" / f"{trainer}.yaml"], pairs, settings)
