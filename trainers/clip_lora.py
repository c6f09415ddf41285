"""CLIPLoRA: low-rank changes of the attention of both towers, trained from pixels.

    W' = W + (alpha / sqrt(r)) B A     for queries, keys and values in every block of both towers
    logits = s norm(f'(image)) . t'_c
    loss   = CE

f' and t' come from the changed towers. t'_c is the unit mean of the unit features of the templates of class c, which
are encoded anew in every step. CLIP itself is frozen. A (r, D) and B (D, r) are learned. A starts at Kaiming-uniform
numbers and B at zeros, so that training starts at zero-shot CLIP. In training, dropout acts on the input of each
change. What is learned does not depend on the classes.

An epoch is STEPS_PER_SHOT * K batches, so MAX_EPOCH 10 and STEPS_PER_SHOT 50 give the authors' 500 K steps.

Source: Zanella and Ben Ayed, "Low-Rank Few-Shot Adaptation of Vision-Language Models", CVPR Workshops 2024,
arXiv:2405.18541, and the authors' released code.
Differences from the authors' code: the scale is that of the model, where the authors' code has 100.
MODEL.BACKBONE.PRECISION is the numerical type of the towers, where the authors' code has half precision with a scaled
loss. Order, views and dropout are functions of the seed and of the pass or epoch. Text is cut after the longest prompt,
which changes nothing under a causal mask. `official` has the authors' template for every data set, and in every pass
new random crops of at least 8 % of an image; `repaired` has the templates of the data set and the views that all
methods share.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results.
tests/trainers/test_clip_lora.py compares with references.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.lora import AdaptedCLIP, LoRAOptions, add_lora
from simnl.clip.text import PromptSet, class_weights
from simnl.fewshot.capabilities import TRANSFORMER
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import TowerHead
from simnl.fewshot.trainer import VLTrainer


class CLIPLoRAHead(TowerHead):
    """Zero-shot CLIP by adapted towers. Learned: `adapters.<block>.a` (3, r, D) and `.b` (3, D, r).

    Args:
        towers: the towers, which are frozen except for their adapters, and are not in the state dict.
        tokens: prompts as token ids, (P, L) int64.
        classes: the class of each prompt, (P,) int64; every class has one or more.
        logit_scale: s.
    """

    tokens: Tensor
    classes: Tensor

    def __init__(self, towers: AdaptedCLIP, tokens: Tensor, classes: Tensor, logit_scale: float):
        super().__init__(logit_scale)
        self.towers, self.num_classes = towers, int(classes.max()) + 1
        self.adapters = nn.ModuleList(towers.adapters)
        self.frozen_buffer("tokens", tokens)
        self.frozen_buffer("classes", classes)

    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw image features (B, D)."""
        return self.towers.encode_image(pixels)

    def encode_classes(self) -> Tensor:
        """Unit rows (C, D): the mean of each class's unit prompts."""
        prompts = self.towers.encode_text(self.tokens)
        return class_weights(prompts, self.classes, self.num_classes, "normalize-mean-normalize")


@TRAINER_REGISTRY.register()
class CLIPLoRA(VLTrainer):
    """CLIP-LoRA as a trainer.

    Table row:
        prediction: s norm(f'(image))·t'_c by changed towers
        learned: rank-r changes of the attention of both towers
        parameters: see its docstring
        checked: authors' code, once; formula
    """

    image_encoder_frozen = False
    needs_vit = True
    needs_text = TRANSFORMER
    base_to_new = True

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/CLIPLoRA.yaml."""
        return CN(
            {"RANK": 2, "ALPHA": 1.0, "DROPOUT": 0.25, "STEPS_PER_SHOT": 50, "MIN_LR": 1e-6, "RECOMPUTE_FROM": 256}
        )

    def build_head(self, task: FewShotTask, cfg: CN) -> CLIPLoRAHead:
        """Adapted towers around the tensors of the frozen ones."""
        prompts = PromptSet.from_templates(task.templates, task.classnames)
        generator = seeded_generator(self.cfg.SEED, "LoRA")
        towers = add_lora(task.clip, LoRAOptions(cfg.RANK, cfg.ALPHA, cfg.DROPOUT), generator)
        if len(prompts.prompts) >= cfg.RECOMPUTE_FROM:
            towers.save_memory()
        tokens = towers.shorten_context(task.clip.tokenize(list(prompts.prompts)))
        return CLIPLoRAHead(towers, tokens, torch.tensor(prompts.classes), task.logit_scale)

    def before_epoch(self) -> None:
        """Seed the global generator, from which dropout draws, by (seed, epoch), for runs that resume."""
        super().before_epoch()
        torch.manual_seed(seeded_generator(self.cfg.SEED, "dropout", self.epoch).initial_seed())
