"""MMRL: tokens of one learned space in the later blocks of both towers, which give a second image feature.

    image: n tokens A_i r are inserted after the class token at the input of block `first`, and replaced by those of
           block i in the blocks after it, up to `last`
    text:  the same with B_i r after the start of text
    f = proj(ln_post(CLS)),   g = P mean_n ln_post(token),   t_c by the changed text tower
    z = s norm(f) . norm(t_c),   z_r = s norm(g) . norm(t_c),   logits = a z + (1 - a) z_r
    loss = a CE(z) + (1 - a) CE(z_r) + w (1 - mean_b cos(f, f0)) + w (1 - mean_c cos(t, t0))

f0 and t0 are the features of the same view and template by frozen CLIP. For classes that training did not see, logits =
z.

CLIP is frozen. Learned are r (n, R) ~ N(0, 0.02^2), the affine maps A_i and B_i (each kind starts equal in all blocks),
and P (Wv, D) ~ N(0, 1 / Wv). These are 4,992,256 numbers for ViT-B/16. What is learned does not depend on the classes.

Source: Guo and Gu, "MMRL: Multi-Modal Representation Learning for Vision-Language Models", CVPR 2025, arXiv:2503.08497,
and the authors' released code.
Differences from the authors' code: numbers are in float32 or bf16, where the authors' code has half precision with a
scaled loss. `official` has the factor 100 in place of s, has new views in every pass, leaves a short last batch out,
and has logits = z also on shifted data sets, where `repaired` has both parts (FUSED_ON_SHIFTED). Parity:
tests/parity/test_towers.py; references in tests/trainers/test_towers.py.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.deep_prompts import random_tokens, seeded_linear
from simnl.clip.prompt_learning import Sentences, TextTower, plain_text_features
from simnl.clip.text import readable
from simnl.clip.towers import Deep, ImageTower, Tokens, check_depth
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import LearnsInTowers, TowerHead
from simnl.fewshot.trainer import VLTrainer


class MMRLHead(TowerHead):
    """Two image features and one text feature. Learned: `space` (n, R), `to_image`, `to_text`, `projection` (Wv, D).

    Args:
        tower: the image tower.
        sentences: the prompts of the classes.
        start: raw text features t0, (C, D).
        classnames: the C class names.
        logit_scale: s.
        generator: the generator of initial values.
        n_tokens: n; width: R; first, last: blocks with tokens, from 0; alpha: a; weight: w.
        chunk: the number of classes that are encoded at once, to save memory; 0 for all.
        fused_on_shifted: False for logits = z on shifted versions of the data.
    """

    start: Tensor

    def __init__(
        self,
        tower: ImageTower,
        sentences: Sentences,
        start: Tensor,
        classnames: tuple[str, ...],
        logit_scale: float,
        generator: torch.Generator,
        *,
        n_tokens: int,
        width: int,
        first: int,
        last: int,
        alpha: float,
        weight: float,
        chunk: int,
        fused_on_shifted: bool = True,
    ):
        super().__init__(logit_scale)
        for name, blocks in (("image", tower.num_blocks), ("text", sentences.tower.num_blocks)):
            check_depth(tower.clip, name, blocks - 1, last, "TRAINER.MMRL.LAST, which counts from 0,")
        self.tower, self.sentences, self.classnames, self.chunk = tower, sentences, classnames, chunk
        self.first, self.alpha, self.weight = first, alpha, weight
        self.fused, self.fused_on_shifted = True, fused_on_shifted
        self.space = random_tokens(n_tokens, width, generator)
        to_image, to_text = (seeded_linear(width, w, generator) for w in (tower.width, sentences.tower.width))
        self.to_image, self.to_text = (
            nn.ModuleList(copy.deepcopy(linear) for _ in range(first, last + 1)) for linear in (to_image, to_text)
        )
        noise = torch.randn(tower.width, tower.clip.embed_dim, generator=generator)
        self.projection = nn.Parameter(tower.width**-0.5 * noise)
        self.frozen_buffer("start", start)

    def _tokens(self, maps: nn.ModuleList) -> Deep:
        return {
            block: Tokens(linear(self.space), 1, insert=block == self.first)
            for block, linear in enumerate(maps, start=self.first)
        }

    def both_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pixels (B, 3, H, W) to f and g, raw, each (B, D)."""
        hidden = self.tower.hidden(pixels, tokens=self._tokens(self.to_image))
        tokens = hidden[:, 1 : 1 + len(self.space)].float().mean(dim=1)
        return self.tower.project(hidden[:, 0]), tokens @ self.projection

    def image_features(self, pixels: Tensor) -> Tensor:
        """f alone."""
        return self.both_features(pixels)[0]

    def encode_classes(self) -> Tensor:
        """Unit rows (C, D)."""
        return F.normalize(self.sentences.encode(chunk=self.chunk, deep=self._tokens(self.to_text)), dim=-1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to logits (B, C)."""
        text, (images, tokens) = self.text_features(), self.both_features(pixels)
        logits = self.cosine(images, text)
        return self.alpha * logits + (1 - self.alpha) * self.cosine(tokens, text) if self.fused else logits

    def losses(self, pixels: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """Two CEs and two pulls to frozen CLIP; images (B, 3, H, W)."""
        text, (images, tokens) = self.text_features(), self.both_features(pixels)
        frozen = self.tower.clip.encode_image(pixels)
        near = F.cosine_similarity(images, frozen).mean(), F.cosine_similarity(text, self.start).mean()
        return {
            "ce": self.alpha * F.cross_entropy(self.cosine(images, text), labels),
            "ce_tokens": (1 - self.alpha) * F.cross_entropy(self.cosine(tokens, text), labels),
            "image": self.weight * (1 - near[0]),
            "text": self.weight * (1 - near[1]),
        }

    def adopt(self, trained: Any) -> None:
        """Adopt as the base class does. Classes that training did not see only have the logits of the class token."""
        super().adopt(trained)
        self.fused = self.classnames == trained.classnames

    def on_shifted(self) -> MMRLHead:
        """This head, or one with logits = z if the options follow the authors' code."""
        if self.fused_on_shifted:
            return self
        other = copy.copy(self)  # shares the parameters
        other.fused = False
        return other


@TRAINER_REGISTRY.register()
class MMRL(LearnsInTowers, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: a s f·t_c + (1 - a) s g·t_c, g from learned tokens; two CEs + distances to frozen CLIP
        learned: tokens of one space, maps to both towers, a projection
        parameters: see its docstring
        checked: authors' code, where its outputs are at hand; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/MMRL.yaml."""
        blocks = {"N_TOKENS": 5, "WIDTH": 512, "FIRST": 5, "LAST": 11, "ALPHA": 0.7, "WEIGHT": 0.5}
        text = {"TEMPLATE": "a photo of a {}.", "LOGIT_SCALE": 0.0, "CHUNK": 256}
        return CN({**blocks, **text, "FUSED_ON_SHIFTED": True})

    def build_head(self, task: FewShotTask, cfg: CN) -> MMRLHead:
        """Make the initial tokens and maps, and the prompts of the class names."""
        prompts = [cfg.TEMPLATE.format(readable(name)) for name in task.classnames]
        start = plain_text_features(task.clip, [cfg.TEMPLATE], task.classnames)
        names = ("N_TOKENS", "WIDTH", "FIRST", "LAST", "ALPHA", "WEIGHT", "CHUNK", "FUSED_ON_SHIFTED")
        return MMRLHead(
            ImageTower(task.clip),
            Sentences(TextTower(task.clip), prompts),
            start,
            task.classnames,
            cfg.LOGIT_SCALE or task.logit_scale,
            seeded_generator(self.cfg.SEED, "MMRL"),
            **{name.lower(): cfg[name] for name in names},
        )
