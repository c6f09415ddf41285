"""From image files to stored features, against a bare loop of the encoder over ready tensors; and the encoder alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks import measure
from benchmarks.measure import flops, hot_operators, interleave
from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.store import FeatureStore
from simnl.clip.tiny_clip import BUNDLED
from simnl.clip.views import ViewSpec
from simnl.data.images import read_image

TITLE = "Feature extraction"
SIZES = {"tiny": ("tiny-clip", 6), "fast": ("RN50", 384), "full": ("RN50", 1024)}
REPEATS = {"tiny": 1, "fast": 3, "full": 5}
TOWERS = {"tiny": [], "fast": ["RN50", "ViT-B-32"], "full": ["RN50", "ViT-B-32", "ViT-B-16"]}
WORKERS = 2


def run(size: str) -> dict:
    """Rows for the table. Weights are random: they do not change what an encoder costs."""
    arch, number = SIZES[size]
    with tempfile.TemporaryDirectory() as folder:
        clip = random_clip(arch, Path(folder), "fp32")
        photos = make_photos(Path(folder) / "photos", number)
        rows = [end_to_end(clip, photos, Path(folder), REPEATS[size])]
        for name in TOWERS[size]:
            rows += encoders(name, Path(folder), 3)
        side = ViewSpec.test(clip.preprocess).size
        profile = hot_operators(encoding(clip, torch.zeros(8, 3, side, side, device=measure.DEVICE)))
    return {"rows": rows, "profile": profile}


def make_photos(folder: Path, number: int) -> list[str]:
    """Smooth random images of 500 x 375 pixels with some grain, as JPEG files of a photo's size (about 60 kB)."""
    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    for i in range(number):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = rng.integers(-20, 21, pixels.shape, dtype=np.int16)
        paths.append(str(folder / f"{i:04d}.jpg"))
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(paths[-1], quality=85)
    return paths


def random_clip(arch: str, folder: Path, precision: str) -> FrozenCLIP:
    """An architecture with random weights, loaded as any checkpoint is; a bundled one with its own."""
    if arch in BUNDLED:
        return load_clip(arch, "bundled", precision, str(measure.DEVICE))
    path = folder / f"{arch}.safetensors"
    if not path.is_file():
        state = open_clip.create_model(arch).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return load_clip(arch, str(path), precision, str(measure.DEVICE))


def end_to_end(clip: FrozenCLIP, photos: list[str], folder: Path, repeats: int) -> dict:
    """Decode, transform, encode and store, against encoding what is decoded already."""
    spec = ViewSpec.test(clip.preprocess)
    transform = spec.build()
    pixels = torch.stack([transform(read_image(path)) for path in photos])
    batches = pixels.to(measure.DEVICE).split(clip.batch_rows)
    stores = iter(range(1000))

    def bare():
        for batch in batches:
            clip.encode_image(batch)

    def stored():
        root = folder / f"store-{next(stores)}"
        FeatureStore(root, clip, num_workers=WORKERS, progress=False).warm(photos, spec)

    times = interleave({"direct": bare, "fast": stored}, repeats)
    row = times.compared()
    share, rate = 100 * row["ratio"]["median"], len(photos) / times.median("fast")
    note = f"{share:.0f} % of the bare rate, {rate:.1f} images/s; {WORKERS} workers decode"
    what = f"{clip.arch}, {len(photos)} JPEG files: decode, transform, encode, store, against a bare loop"
    return {"what": what, **row, "note": note}


def encoding(clip: FrozenCLIP, pixels: torch.Tensor) -> Callable:
    """Encoding a batch, as a function."""
    return lambda: clip.encode_image(pixels)


def encoders(arch: str, folder: Path, repeats: int) -> list[dict]:
    """The towers in the form that they are loaded in, and in bf16, against open_clip's in fp32; 32 inputs."""
    device = measure.DEVICE
    plain = open_clip.create_model(arch).eval().requires_grad_(False).to(device)
    full, half = (random_clip(arch, folder, precision) for precision in ("fp32", "bf16"))
    pixels = torch.randn(32, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    tokens = full.tokenize(["a photo of a thing."] * 32).to(device)

    def theirs(function: Callable, inputs: torch.Tensor) -> Callable:
        return torch.no_grad()(lambda: function(inputs))

    images = interleave(
        {
            "direct": theirs(plain.encode_image, pixels),
            "fast": encoding(full, pixels),
            "bf16": encoding(half, pixels),
        },
        repeats,
    )

    def half_texts():
        with torch.no_grad(), half.autocast():
            half.model.encode_text(tokens)

    texts = interleave({"direct": theirs(plain.encode_text, tokens), "fast": half_texts}, repeats)
    gflop = flops(theirs(plain.encode_image, pixels[:1])) / 1e9
    text = "text tower, bf16" + (" (not used on a CPU)" if device.type == "cpu" else "")
    return [
        {
            "what": f"{arch}, image tower, fp32",
            **images.compared(),
            "note": f"{32 / images.median('fast'):.0f} images/s, {gflop:.1f} GFLOP each",
        },
        {
            "what": f"{arch}, image tower, bf16 (MODEL.BACKBONE.PRECISION)",
            **images.compared(fast="bf16"),
            "note": f"{32 / images.median('bf16'):.0f} images/s",
        },
        {"what": f"{arch}, {text}", **texts.compared()},
    ]
