"""PromptSRC: the tokens of IVLP, kept near frozen CLIP and averaged over the epochs.

    z, f, t_c   logits, unit image and text features of IVLP (trainers/ivlp.py)
    T_c         unit mean, over 60 templates, of frozen CLIP's raw text features
    f0, z0      frozen CLIP's unit image feature of the same view, and s f0 . T_c
    loss = CE(z) + w_t mean |t - T| + w_i mean |f - f0| + mean_(b,c) q (log q - log p)
                                            p, q the softmax of z, z0; means run over all entries
    what is deployed = sum_e g_e (parameters after epoch e),   g_e ~ exp(-((e - mean) / std)^2 / 2), e = 1 .. E

CLIP is frozen. Learned are 4 + 4 tokens in 9 blocks, 46,080 numbers for ViT-B/16. What is learned does not depend on
the classes. Training continues from the parameters that are not averaged. The average is in the checkpoints, so that
runs can resume.

Source: Khattak et al., "Self-regulating Prompts: Foundational Model Adaptation without Forgetting", ICCV 2023,
arXiv:2307.06948, and the authors' released code.
Differences from the authors' code: the same as for MaPLe (trainers/maple.py). Only what is learned is averaged, where
the authors' code also averages the frozen weights, which rounding then changes. Parity: tests/parity/test_towers.py;
references in tests/trainers/test_towers.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.prompt_learning import plain_text_features
from simnl.clip.towers import LearnedWeights
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import LearnsInTowers
from simnl.fewshot.trainer import VLTrainer
from trainers.ivlp import IVLPHead, ivlp_parts


class PromptSRCHead(IVLPHead):
    """IVLP's head with three more terms in its loss. Learned: `prompts` and `vision`.

    Args:
        text_target: T, unit rows (C, D).
        text_weight: w_t; image_weight: w_i.
        parts: the arguments of `IVLPHead`.
    """

    text_target: Tensor

    def __init__(self, *, text_target: Tensor, text_weight: float, image_weight: float, **parts):
        super().__init__(**parts)
        self.text_weight, self.image_weight = text_weight, image_weight
        self.frozen_buffer("text_target", text_target)

    def losses(self, pixels: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """CE and the three terms; images (B, 3, H, W)."""
        images, text = F.normalize(self.image_features(pixels), dim=-1), self.text_features()
        frozen = F.normalize(self.tower.clip.encode_image(pixels), dim=-1)
        logits = self.logit_scale * images @ text.T
        ours, theirs = logits.log_softmax(-1), (self.logit_scale * frozen @ self.text_target.T).log_softmax(-1)
        return {
            "ce": F.cross_entropy(logits, labels),
            "text": self.text_weight * (text - self.text_target).abs().mean(),
            "image": self.image_weight * (images - frozen).abs().mean(),
            "logits": F.kl_div(ours, theirs, reduction="sum", log_target=True) / logits.numel(),
        }


def gaussian_weights(epochs: int, mean: float, std: float) -> Tensor:
    """g, (E,) float64: the weights of epochs 1 .. E, which sum to 1."""
    numbers = torch.arange(1, epochs + 1, dtype=torch.float64)
    return (-(((numbers - mean) / std) ** 2) / 2).softmax(0)


class Average(LearnedWeights):
    """The weighted sum of what a head has learned so far, under the head's names. It starts at zeros."""

    def __init__(self, head: torch.nn.Module):
        super().__init__({name: torch.zeros_like(value) for name, value in head.named_parameters()})
        self.requires_grad_(False)

    @torch.no_grad()
    def add(self, head: torch.nn.Module, weight: float) -> None:
        """Add the current parameters times `weight`."""
        for name, value in head.named_parameters():
            self.get_parameter(name).add_(value, alpha=weight)


@TRAINER_REGISTRY.register()
class PromptSRC(LearnsInTowers, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: as IVLP; CE + distances of features and logits to frozen CLIP; averaged over epochs
        learned: text and image tokens
        parameters: see its docstring
        checked: authors' code, where its outputs are at hand; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/PromptSRC.yaml."""
        depths = {"N_CTX_TEXT": 4, "N_CTX_VISION": 4, "DEPTH_TEXT": 9, "DEPTH_VISION": 9}
        rules = {"TEXT_WEIGHT": 25.0, "IMAGE_WEIGHT": 10.0, "GPA_MEAN": 30.0, "GPA_STD": 30.0, "TEMPLATES": []}
        return CN({**depths, **rules, "HALF_TOKENS": False, "CHUNK": 256})

    def build_head(self, task: FewShotTask, cfg: CN) -> PromptSRCHead:
        """Make the initial tokens, the prompts of the class names, and the targets of the other terms."""
        target = F.normalize(plain_text_features(task.clip, cfg.TEMPLATES, task.classnames), dim=-1)
        parts = ivlp_parts(task, cfg, self.cfg.SEED)
        weights = {"text_weight": cfg.TEXT_WEIGHT, "image_weight": cfg.IMAGE_WEIGHT}
        return PromptSRCHead(text_target=target, logit_scale=task.logit_scale, **weights, **parts)

    def build_model(self) -> None:
        """Build as the base class does, and register the average with the engine, for its checkpoints."""
        super().build_model()
        self.average = Average(self.head).to(self.device)
        self.gauss = gaussian_weights(max(self.max_epoch, 1), self.node.GPA_MEAN, self.node.GPA_STD).tolist()
        self.register_model("average", self.average)

    def after_epoch(self) -> None:
        """Add the epoch to the average before the checkpoint is written."""
        self.average.add(self.head, self.gauss[self.epoch])
        super().after_epoch()

    def fit(self) -> None:
        """Deploy the average."""
        if self.trains:
            self.head.load_state_dict(self.average.state_dict())
