"""Train a bundled tiny CLIP on rendered images and captions, and measure it on the `shapes` benchmark.

    python tools/train_tiny_clip.py            # writes simnl/clip/tiny_clip/{weights.safetensors,metrics.json}
    python tools/train_tiny_clip.py --model tiny-vit    # the vision transformer, in simnl/clip/tiny_clip/vit
    python tools/train_tiny_clip.py --output my_tiny_clip --epochs 2

Contrastive learning as CLIP does it (Radford et al., ICML 2021), in float32 on a CPU. Captions that are equal
word for word count as the same text, so that a small caption language does not make false negatives.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import _path  # noqa: F401 - makes the packages importable
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.shapes.captions import TRAITS, caption, plain_captions
from datasets.shapes.classes import CLASSES, SPLITS
from datasets.shapes.dataset import Shapes
from datasets.shapes.render import PATTERNS, STYLES, image_generator, render, sample_scene
from simnl.bars import bar as progress_bar
from simnl.clip import tiny_clip
from simnl.clip.text import PromptSet, class_weights, read_cupl
from simnl.commands import parser_of
from simnl.config_names import config_file
from simnl.errors import fail_politely
from simnl.files import write_text_atomically
from simnl.runs.yaml_files import read_yaml

PLAIN_CAPTIONS, RICH_CAPTIONS = 2, 4  # of each image
PLAIN_EPOCHS = 0.4  # share of the epochs that see the plain captions: names come before sentences, or come slowly
STYLE_SHARES = {"outline": 0.04, "inverted": 0.1, "noise": 0.04}  # the rest are photos; a little of each shift
CROP_SCALE = 0.6  # smallest share of a side that a random crop keeps
MAX_SCALE = math.log(100.0)
RATES = {tiny_clip.RESNET.arch: 2e-3, tiny_clip.VIT.arch: 1e-3}  # learning rates


def render_images(count: int, seed: int) -> tuple[Tensor, list[list[str]]]:
    """Training images (count, 3, S, S) uint8 and the captions of each, plain ones first."""
    figures, images, captions = list(TRAITS), [], []
    with progress_bar("Rendering", count, "image") as bar:
        for i in range(count):
            rng = image_generator("pretrain", seed, i)
            figure, pattern = figures[int(rng.random() * len(figures))], PATTERNS[int(rng.random() * len(PATTERNS))]
            scene = sample_scene(rng, figure, pattern, pick_style(rng.random()))
            images.append(render(scene, rng))
            captions.append([*plain_captions(scene), *(caption(scene, rng) for _ in range(RICH_CAPTIONS))])
            bar.update()
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), captions


def pick_style(lottery: float) -> str:
    """A style by its share; lottery in [0, 1)."""
    for style, share in STYLE_SHARES.items():
        if lottery < share:
            return style
        lottery -= share
    return "photo"


def benchmark_images(split: str, style: str) -> tuple[Tensor, Tensor]:
    """Images (N, 3, S, S) uint8 and labels (N,) of a part of the benchmark."""
    images, labels = [], []
    for entry in CLASSES:
        for i in range(SPLITS[split]):
            rng = image_generator(split, entry.name, i, style)
            images.append(render(sample_scene(rng, entry.figure, entry.pattern, style), rng))
            labels.append(entry.label)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (B, 3, S, S) to what the image tower takes."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (tiny_clip.IMAGE_MEAN, tiny_clip.IMAGE_STD))
    return (pixels.float() / 255 - mean) / std


def random_crop(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """One random resized crop and flip per image."""
    low, high = torch.rand(2, len(pixels), 1, generator=generator), torch.rand(2, len(pixels), 1, generator=generator)
    size = CROP_SCALE + (1 - CROP_SCALE) * low  # (2, B, 1): width and height
    centre = (2 * high - 1) * (1 - size)
    flip = torch.where(torch.rand(len(pixels), 1, generator=generator) < 0.5, -1.0, 1.0)
    theta = torch.zeros(len(pixels), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = (size[0] * flip).squeeze(1), centre[0].squeeze(1)
    theta[:, 1, 1], theta[:, 1, 2] = size[1].squeeze(1), centre[1].squeeze(1)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False, padding_mode="reflection")


class Captions:
    """All different captions as token ids, cut after the longest; ids (N, captions per image) says who has which."""

    def __init__(self, captions: list[list[str]], tokenizer):
        texts = sorted({text for group in captions for text in group})
        number = {text: i for i, text in enumerate(texts)}
        self.ids = torch.tensor([[number[text] for text in group] for group in captions])
        tokens = tokenizer(texts)
        self.lengths = (tokens != 0).sum(1)
        self.used = torch.unique(tokens)
        self.compact = torch.searchsorted(self.used, tokens)  # rows of the used part of the token table

    def batch(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Compact token ids (B, l) and the position of the end token (B,)."""
        return self.compact[ids][:, : int(self.lengths[ids].max())], self.lengths[ids] - 1


def encode_captions(model, table: Tensor, tokens: Tensor, ends: Tensor) -> Tensor:
    """Unit text features (B, D); the model's own text tower, without computing the padding."""
    length = tokens.shape[1]
    x = table[tokens] + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(x[torch.arange(len(x)), ends] @ model.text_projection, dim=-1)


def contrastive_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Both directions; same (B, B) says which captions are equal, and they share the target."""
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train(model, images: Tensor, captions: Captions, args: argparse.Namespace) -> Tensor:
    """Train in place; returns the rows of the token table that were used, (U, W)."""
    generator = torch.Generator().manual_seed(args.seed)
    table = torch.nn.Parameter(model.token_embedding.weight.detach()[captions.used].clone())
    learned = [p for name, p in model.named_parameters() if not name.startswith("token_embedding")]
    matrices = [p for p in learned if p.ndim > 1]
    others = [p for p in learned if p.ndim <= 1] + [table]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optim = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), eps=1e-6)
    steps = args.epochs * (len(images) // args.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optim, lambda i: min(1.0, (i + 1) / 100) * 0.5 * (1 + math.cos(math.pi * i / steps))
    )
    model.train()
    model.visual.to(memory_format=torch.channels_last)
    with progress_bar("Training", steps, "step") as bar:
        for epoch in range(args.epochs):
            order = torch.randperm(len(images), generator=generator)
            for index in order[: len(order) // args.batch_size * args.batch_size].split(args.batch_size):
                first, last = (0, PLAIN_CAPTIONS) if epoch < PLAIN_EPOCHS * args.epochs else (1, captions.ids.shape[1])
                which = torch.randint(first, last, (len(index),), generator=generator)
                ids = captions.ids[index, which]
                pixels = random_crop(normalise(images[index]), generator).contiguous(memory_format=torch.channels_last)
                text = encode_captions(model, table, *captions.batch(ids))
                logits = model.logit_scale.exp() * model.encode_image(pixels, normalize=True) @ text.T
                loss = contrastive_loss(logits, (ids[:, None] == ids[None]).float())
                optim.zero_grad()
                loss.backward()
                optim.step()
                schedule.step()
                with torch.no_grad():
                    model.logit_scale.clamp_(0, MAX_SCALE)
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}")
    model.eval()
    return table.detach()


def benchmark_prompts() -> dict[str, PromptSet]:
    """The benchmark's own templates and CuPL sentences."""
    shapes: Any = read_yaml(config_file("datasets", "shapes"))
    body = shapes["PROMPTS"]
    names = [entry.name for entry in CLASSES]
    cupl = read_cupl(Shapes.bundled_dir / body["CUPL"], names)
    return {"template": PromptSet.from_templates(body["POSITIVE"], names), "cupl": cupl}


@torch.no_grad()
def measure(model, tokenizer) -> dict[str, float]:
    """Zero-shot accuracy in percent: templates, CuPL, SimNL's mixture of both; and templates on the variants."""
    weights, prompts = {}, benchmark_prompts()
    for name, sentences in prompts.items():
        features, classes = model.encode_text(tokenizer(list(sentences.prompts))), torch.tensor(sentences.classes)
        weights[name] = class_weights(features, classes, len(CLASSES), "normalize-mean-normalize")
    weights["mixture"] = 0.45 * weights["template"] + 0.55 * weights["cupl"]
    result = {}
    for style in STYLES:
        images, labels = benchmark_images("test", style)
        features = torch.cat([model.encode_image(normalise(part), normalize=True) for part in images.split(500)])
        for name in weights if style == "photo" else ("template", "mixture"):
            right = ((features @ weights[name].T).argmax(1) == labels).float().mean().item()
            result[f"zero_shot_{style}_{name}"] = round(100 * right, 2)
    return result


@fail_politely
def main() -> int:
    """Entry point."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", choices=sorted(tiny_clip.BUNDLED), default=tiny_clip.RESNET.arch)
    parser.add_argument("--output", type=Path, help="the folder to write to; the model's own if none is given")
    parser.add_argument("--images", type=int, default=12000, help="number of training images")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, help="2e-3 for the ResNet, 1e-3 for the transformer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="the last bits of the weights depend on it")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    bundled = tiny_clip.BUNDLED[args.model]
    args.output, args.lr = args.output or bundled.folder, args.lr or RATES[args.model]
    model, tokenizer = tiny_clip.new_model(bundled), tiny_clip.tokenizer(bundled)
    start = time.perf_counter()
    images, captions = render_images(args.images, args.seed)
    captions = Captions(captions, tokenizer)
    table = train(model, images, captions, args)
    seconds = time.perf_counter() - start
    args.output.mkdir(parents=True, exist_ok=True)
    state = {**model.state_dict(), "token_embedding.weight": table}
    tiny_clip.save_state_dict(state, captions.used, args.output / "weights.safetensors")
    model.load_state_dict(tiny_clip.load_state_dict(args.output / "weights.safetensors"))
    metrics = {
        "training_seconds": round(seconds),
        "training_images": args.images,
        "epochs": args.epochs,
        "threads": args.threads,
        "image_tower_parameters": sum(p.numel() for p in model.visual.parameters()),
        "logit_scale": round(model.logit_scale.exp().item(), 2),
        **measure(model, tokenizer),
    }
    write_text_atomically(args.output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    print(f"Trained in {seconds:.0f} s, written to {args.output}")
    print(json.dumps(metrics, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
