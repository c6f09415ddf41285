"""A ViT-shaped CLIP of random weights, small enough to train in a test, for methods that work from pixels."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from simnl.clip.lora import AdaptedCLIP, LoRAOptions, add_lora
from simnl.clip.model import FrozenCLIP, load_clip

ARCH = "ViT-tiny-test"
WIDTH, SIZE = 16, 32  # features; pixels
CONFIG = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PARAMETERS = 4 * 3 * 2 * (32 + 32)  # of LoRA of rank 2: blocks, projections, rank, inputs and outputs
PROMPTS = ["a photo of a dog.", "a photo of a very large cat.", "a drawing of a dog.", "a drawing of a very large cat."]


def write(folder: Path) -> tuple[Path, Path]:
    """Make the model config and a checkpoint; register the architecture. Returns both files."""
    config, weights = folder / f"{ARCH}.json", folder / f"{ARCH}.safetensors"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = open_clip.create_model(ARCH)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
    return config, weights


@functools.lru_cache(maxsize=1)
def load() -> FrozenCLIP:
    """The model, once per process."""
    with tempfile.TemporaryDirectory() as folder:
        return load_clip(ARCH, str(write(Path(folder))[1]))


def copy_of(clip: FrozenCLIP) -> dict[str, torch.Tensor]:
    """Its state dict, to compare with later."""
    return {name: tensor.clone() for name, tensor in clip.model.state_dict().items()}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def pixels(count: int = 4) -> torch.Tensor:
    return random(count, 3, SIZE, SIZE, dtype=torch.float32)


def adapted(moved: bool = False, **options) -> AdaptedCLIP:
    """The tiny ViT with LoRA; moved: B is not zero."""
    towers = add_lora(load(), LoRAOptions(**options), generator())
    if moved:
        for number, lora in enumerate(towers.adapters):
            lora.b.data = 0.3 * random(*lora.b.shape, seed=number, dtype=lora.b.dtype)
    return towers
