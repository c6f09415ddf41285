"""CoCoOp: CoOp with a context that depends on the image.

    pi(f)   = W2 ReLU(W1 f + b1) + b2       a small network, W1 (D/16, D), W2 (W, D/16)
    t_c(f)  = norm(text([v_1 + pi(f)] ... [v_M + pi(f)] [class c] .))
    logits  = s f . t_c(f)                  f the unit image feature, s the model's logit scale
    loss    = CE

Both towers are frozen. M context vectors of the text tower's width W, which start at given words, and the network pi
are learned. These are M W + D (D/16) + D/16 + W (D/16) + W numbers for any number of classes. The cost of the method is
that every image needs C prompts of its own, so that B C prompts go through the text tower in a step.

Source: Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022, arXiv:2203.05557, and the
authors' released code.
Differences from the authors' code: numbers are in float32, where the authors' code has half precision.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results.
tests/trainers/test_coop.py compares with the text tower itself.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.prompt_learning import LearnedPrompts
from simnl.fewshot.head import Head
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.prompt_head import LearnsPrompts
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


class CoCoOpHead(Head):
    """Cosine with prompts made for each image. Learned: `context` (M, W) and `meta`, the network pi.

    Args:
        prompts: the prompts of all classes.
        context: the initial vectors, (M, W).
        logit_scale: s.
        width: D.
        reduction: D divided by the hidden width of pi.
        chunk: the number of prompts that are encoded at once, to save memory.
        seed: the seed of the initial weights of pi.
    """

    not_exported = "makes prompts of its own for each image, so that every prediction needs the text tower."

    def __init__(
        self,
        prompts: LearnedPrompts,
        context: Tensor,
        logit_scale: float,
        *,
        width: int,
        reduction: int,
        chunk: int,
        seed: int,
    ):
        super().__init__()
        if not 1 <= reduction <= width:
            raise ValueError(
                f"TRAINER.COCOOP.REDUCTION is {reduction}. Choose 1 to {width}, the width of the features."
            )
        self.prompts, self.logit_scale, self.chunk = prompts, logit_scale, chunk
        self.context = nn.Parameter(context.clone())
        self.meta = nn.Sequential(
            nn.Linear(width, width // reduction), nn.ReLU(), nn.Linear(width // reduction, context.shape[-1])
        )
        self._init_meta(seed)

    @torch.no_grad()
    def _init_meta(self, seed: int) -> None:
        """Initialise as torch's linear layers, uniformly within 1 / sqrt(inputs), from a generator with this seed."""
        layers: dict[str, Any] = {"down": self.meta[0], "up": self.meta[2]}
        for name, layer in layers.items():
            generator, bound = seeded_generator(seed, "CoCoOp", name), layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C), a few images at a time (`chunk`)."""
        images = max(1, self.chunk // len(self.prompts.tokens))
        return torch.cat([self._logits(part) for part in F.normalize(features, dim=-1).split(images)])

    def _logits(self, f: Tensor) -> Tensor:
        p = self.prompts
        context = self.context + self.meta(f).unsqueeze(1)  # (B, M, W)
        embeddings = p.embeddings(context.unsqueeze(1)).flatten(0, 1)  # (B * C, L, W)
        text = F.normalize(p.tower.encode(p.tokens.repeat(len(f), 1), embeddings, self.chunk), dim=-1)
        return self.logit_scale * torch.einsum("bd,bcd->bc", f, text.view(len(f), -1, text.shape[-1]))


@TRAINER_REGISTRY.register()
class CoCoOp(LearnsPrompts, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(text([v_1 + π(f) … v_M + π(f)] class c))
        learned: context vectors, a network on the image feature
        parameters: M*W + D*(D//16) + D//16 + W*(D//16) + W
        checked: authors' code, once; the text tower written out
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX: M without initial words. CTX_INIT: initial words. REDUCTION: D divided by the hidden width of pi.
        CHUNK: the number of prompts that are encoded at once."""
        return CN({"N_CTX": 4, "CTX_INIT": "a photo of a", "POSITION": "end", "REDUCTION": 16, "CHUNK": 1024})

    def build_head(self, task: FewShotTask, cfg: CN) -> CoCoOpHead:
        """Prompts of the class names around the initial context."""
        return CoCoOpHead(
            **self.prompt_inputs(task, cfg),
            width=task.clip.embed_dim,
            reduction=cfg.REDUCTION,
            seed=self.cfg.SEED,
        )
