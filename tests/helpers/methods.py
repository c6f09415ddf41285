"""Any registered method on a task of clustered random features."""

from __future__ import annotations

import torch

from dassl.engine import TRAINER_REGISTRY
from helpers import tiny_vit
from simnl.clip.model import load_clip
from simnl.clip.patches import with_patches
from simnl.clip.projection import before_projection
from simnl.clip.text import PromptFeatures
from simnl.config_names import known
from simnl.fewshot.head import Head
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer
from simnl.locations import CONFIGS
from simnl.plugins import load_plugins
from simnl.runs.config import assemble

CLIP = load_clip("tiny-clip", "bundled")
HIDDEN_CLIP = before_projection(CLIP)
PATCH_CLIP = with_patches(CLIP)
CLASSES, WIDTH, VIEWS = 5, CLIP.embed_dim, 3
METHODS = known("trainers")
load_plugins()  # a test file that runs alone needs the methods, too


def make_task(shots: int, pixels: bool = False, hidden: bool = False, patches: bool = False) -> FewShotTask:
    """Clustered random features: images, and text near their class means.

    pixels: in the place of image features (V, N, D), noise images (V, N, 3, H, W) and a CLIP that takes them.
    hidden: image features (V, N, H) that the image tower's projection turns into those of the plain task.
    patches: image features (V, N, (1 + G) D), those of the plain task and random ones.
    """
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    centres, labels = noise(CLASSES, WIDTH), torch.arange(CLASSES).repeat_interleave(shots)
    prompts = {
        name: PromptFeatures(centres.repeat(2, 1) + 0.5 * noise(2 * CLASSES, WIDTH), torch.arange(CLASSES).repeat(2))
        for name in ("template", "negative", "cupl")
    }
    images = centres[labels] + 2.0 * noise(VIEWS, len(labels), WIDTH)
    names = tuple(f"class {c}" for c in range(CLASSES))
    clip = CLIP
    if pixels:
        images, clip = noise(VIEWS, len(labels), 3, tiny_vit.SIZE, tiny_vit.SIZE), tiny_vit.load()
    if hidden:
        clip = HIDDEN_CLIP
        images = (images - HIDDEN_CLIP.image_projection.bias) @ torch.linalg.pinv(HIDDEN_CLIP.image_projection.weight)
    if patches:
        clip = PATCH_CLIP
        images = torch.cat([images, noise(*images.shape[:2], clip.image_dim - WIDTH)], dim=-1)
    templates = ("{} texture.",)  # of dtd, as the trainers of `make_trainer`
    return FewShotTask(images, labels, labels, prompts, names, shots, 50.0, clip, torch.device("cpu"), templates)


def make_trainer(method: str) -> VLTrainer:
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "dtd.yaml"]
    cfg = assemble([*files, CONFIGS / "trainers" / f"{method}.yaml"], [], {"TRAINER.NAME": method, "SEED": 1})
    kind = TRAINER_REGISTRY.get(method).of(cfg)
    trainer = kind.__new__(kind)
    trainer.cfg = cfg
    return trainer


def make_head(method: str, shots: int) -> tuple[Head, FewShotTask]:
    trainer = make_trainer(method)
    kinds = {"pixels": not trainer.image_encoder_frozen, "hidden": trainer.before_projection}
    task = make_task(shots, **kinds, patches=trainer.with_patches)
    return trainer.build_head(task, trainer.node), task
