"""TCP: tokens of the prompt that are computed from the text feature of the class.

    t0_c   = norm(text(template c))                                         frozen
    G_c    = reshape(W_2 quickgelu(W_1 t0_c + b_1) + b_2)                   n tokens of class c
    t_c    = norm(text([v_1 ... v_n] prompt c)),  whose tokens 1 .. n become G_c at the input of block L
    logits = s f . t_c,    loss = CE + w (1 - mean_c t_c . t0_c)            f the unit image feature

Both towers are frozen. Image features come from the store, so any image tower works. Learned are the context (n, W),
which starts at N(0, 0.02^2), and the network W_1 (D/4, D), W_2 (n W, D/4). These are 331,904 numbers for ViT-B/16. What
is learned does not depend on the classes.

Source: Yao et al., "TCP: Textual-based Class-aware Prompt Tuning", CVPR 2024, arXiv:2311.18231, and the authors'
released code.
Differences from the authors' code: numbers are in float32, where the authors' code has half precision. Views are those
that all methods share. `official` has new random crops of at least 8 % of an image in every epoch, and leaves a short
last batch out.
Parity: tests/parity/test_towers.py; references in tests/trainers/test_towers.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.deep_prompts import random_tokens, seeded_linear
from simnl.clip.prompt_learning import Sentences, TextTower, plain_text_features
from simnl.clip.text import readable
from simnl.clip.towers import Tokens, check_depth
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.prompt_head import LearnsPrompts
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import TowerHead
from simnl.fewshot.trainer import VLTrainer


class TCPHead(TowerHead):
    """Class-aware prompts. Learned: `context` (n, W) and `network.0`, `network.1`.

    Args:
        sentences: the prompts of the classes, whose first n words the context replaces.
        start: unit text features t0, (C, D).
        num_context: n.
        block: L, counted from 0.
        weight: w.
        generator: the generator of initial values.
        logit_scale: s.
        chunk: the number of classes that are encoded at once, to save memory; 0 for all.
    """

    start: Tensor

    def __init__(
        self,
        sentences: Sentences,
        start: Tensor,
        *,
        num_context: int,
        block: int,
        weight: float,
        generator: torch.Generator,
        logit_scale: float,
        chunk: int = 0,
    ):
        super().__init__(logit_scale)
        width, features = sentences.tower.width, start.shape[1]
        check_depth(sentences.tower.clip, "text", sentences.tower.num_blocks - 1, block, "TRAINER.TCP.BLOCK")
        self.sentences, self.num_context, self.block, self.chunk = sentences, num_context, block, chunk
        self.weight = weight
        self.context = random_tokens(num_context, width, generator)
        sizes = ((features, features // 4), (features // 4, num_context * width))
        self.network = nn.ModuleList(seeded_linear(*size, generator) for size in sizes)
        self.frozen_buffer("start", start)

    def class_tokens(self) -> Tensor:
        """G, (C, n, W)."""
        hidden = self.network[0](self.start)
        return self.network[1](hidden * torch.sigmoid(1.702 * hidden)).unflatten(-1, (self.num_context, -1))

    def image_features(self, pixels: Tensor) -> Tensor:
        """Raw image features (B, D), which are not changed."""
        return pixels

    def encode_classes(self) -> Tensor:
        """Unit rows (C, D)."""
        deep = {self.block: Tokens(self.class_tokens(), 1)}
        return F.normalize(self.sentences.encode(self.context, self.chunk, deep), dim=-1)

    def losses(self, features: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, and the term that keeps the text features near those of the template."""
        text = self.text_features()
        apart = 1 - (text * self.start).sum(-1).mean()
        return {"ce": F.cross_entropy(self.cosine(features, text), labels), "text": self.weight * apart}


@TRAINER_REGISTRY.register()
class TCP(LearnsPrompts, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c)), tokens of class c in block L; CE + w (1 - mean t_c·t0_c)
        learned: context vectors, a network on the text feature
        parameters: M*W + D*(D//4) + D//4 + M*W*(D//4) + M*W
        checked: authors' code, where its outputs are at hand; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/TCP.yaml."""
        prompts = {"TEMPLATE": "a photo of a {}.", "PROMPT": "X X X X {}."}
        return CN({"N_CTX": 4, "BLOCK": 8, "TEXT_WEIGHT": 8.0, **prompts, "CHUNK": 256})

    def build_head(self, task: FewShotTask, cfg: CN) -> TCPHead:
        """Make the initial context and network."""
        start = F.normalize(plain_text_features(task.clip, [cfg.TEMPLATE], task.classnames), dim=-1)
        prompts = [cfg.PROMPT.format(readable(name)) for name in task.classnames]
        return TCPHead(
            Sentences(TextTower(task.clip), prompts),
            start,
            num_context=cfg.N_CTX,
            block=cfg.BLOCK,
            weight=cfg.TEXT_WEIGHT,
            generator=seeded_generator(self.cfg.SEED, "TCP"),
            logit_scale=task.logit_scale,
            chunk=cfg.CHUNK,
        )
