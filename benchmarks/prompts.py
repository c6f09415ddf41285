"""A step of CoOp with stored image features, against encoding its images in every step and prompts in full length."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.extraction import random_clip
from benchmarks.measure import interleave
from simnl.clip.model import FrozenCLIP
from simnl.clip.prompt_learning import LearnedPrompts, TextTower
from simnl.fewshot.prompt_head import initial_context
from trainers.coop import CoOpHead

TITLE = "Learning prompts (CoOp)"
SIZES = {"tiny": ("tiny-clip", 4, (4,)), "fast": ("ViT-B-32", 40, (100, 1000)), "full": ("ViT-B-32", 200, (100, 1000))}
BATCH, CONTEXT, SHOTS, CHUNK = 32, 16, 16, 256


def run(size: str) -> dict:
    """Rows for the table. The text tower's cost is proportional to the classes, so some are measured."""
    arch, some, numbers = SIZES[size]
    with tempfile.TemporaryDirectory() as folder:
        clip = random_clip(arch, Path(folder), "fp32")
        rounds = interleave(cases(clip, some), 1 if size == "tiny" else 3)
    times = {name: rounds.median(name) for name in rounds}
    rows = []
    for classes in numbers:
        text = times["chunks"] if classes > CHUNK else times["at once"]
        step = {
            "direct": times["full length"] * classes / some + times["images"],
            "fast": text * classes / some,
        }
        epoch = {which: value * (classes * SHOTS // BATCH) for which, value in step.items()}
        note = f"{some} classes measured and multiplied; {BATCH} images encode in {times['images']:.2g} s"
        what = f"{arch}, C = {classes}, B = {BATCH}, {CONTEXT} vectors"
        rows.append({"what": f"{what}: a step", "seconds": step, "note": note})
        rows.append({"what": f"{what}: an epoch of {SHOTS} shots", "seconds": epoch})
    return {"rows": rows}


def cases(clip: FrozenCLIP, classes: int) -> dict[str, Callable]:
    """A step with prompts as long as needed, one with prompts of the full context length, encoding a batch."""
    names = [f"small object {i}" for i in range(classes)]
    tower = TextTower(clip)
    context = initial_context(tower, "", CONTEXT, 1).to(clip.device)
    prompts = LearnedPrompts(tower, names, CONTEXT)
    heads = {c: CoOpHead(prompts, context, clip.logit_scale, c).to(clip.device) for c in (0, classes // 2)}
    tokens = clip.tokenize([f"{'X ' * CONTEXT}{name}." for name in names]).to(clip.device)
    frozen, learned = tower.embed(tokens), torch.nn.Parameter(context.clone())
    features = torch.randn(BATCH, clip.embed_dim, generator=torch.Generator().manual_seed(0)).to(clip.device)
    labels = torch.arange(BATCH, device=clip.device) % classes
    side = clip.model.visual.image_size
    pixels = torch.zeros(BATCH, 3, *(side if isinstance(side, tuple) else (side, side)), device=clip.device)

    def full_length():
        rows = torch.cat([frozen[:, :1], learned.expand(classes, -1, -1), frozen[:, 1 + CONTEXT :]], dim=1)
        text = F.normalize(tower.encode(tokens, rows), dim=-1)
        F.cross_entropy(clip.logit_scale * F.normalize(features, dim=-1) @ text.T, labels).backward()

    def used_length(chunk: int):
        sum(heads[chunk].losses(features, labels).values()).backward()

    return {
        "full length": full_length,
        "at once": lambda: used_length(0),
        "chunks": lambda: used_length(classes // 2),  # as more than CHUNK classes are encoded
        "images": lambda: clip.encode_image(pixels),
    }
