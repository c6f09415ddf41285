"""LoCoOp: CoOp that keeps patches that do not look like their image's class away from all classes.

    t_c    = norm(text([v_1] ... [v_M] [class c] .))
    logits = s f . t_c                              f the unit image feature, s the model's logit scale
    p_gc   = softmax_c(s f_g . t_c)                 f_g the unit feature of patch g
    loss   = CE + w mean over selected patches of sum_c p_gc log(p_gc + 1e-5)
    selected: the patches whose K most likely classes do not include the image's class; without any, the term is 0

Both towers are frozen. M context vectors of the text tower's width W are learned, which are one set for all classes.
The second term is minus the entropy, so it makes all classes equally likely for the selected patches. Patches come from
a store of their own (`simnl.clip.patches`). `gl_mcm` and `l_mcm` of the open-set tables are its scores.

Source: Miyai et al., "LoCoOp: Few-Shot Out-of-Distribution Detection via Prompt Learning", NeurIPS 2023,
arXiv:2306.01293, and the authors' released code.
Differences from the authors' code: numbers are in float32, and stored features in half precision, where the authors'
code has half precision throughout. K is 200 on ImageNet, as in the authors' code. For other numbers of classes C it is
round(C / 5), at least 1; the authors' README asks for another K without a rule. Views are stored, as for all methods;
`official` has a new view in every epoch. Parity: tests/parity/test_detectors.py compares with recorded outputs of the
authors' code; tests/trainers/test_negative_prompts.py has the formulas in float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.patches import image_and_patches
from simnl.fewshot.head import ClassifierHead
from simnl.fewshot.prompt_head import LearnsPrompts, PromptHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

TINY = 1e-5  # added within the logarithm


def patch_entropy_loss(logits: Tensor, labels: Tensor, most_likely: int) -> Tensor:
    """Minus the mean entropy of the patches that do not look like their image's class; 0 if there are none.

    Args:
        logits: s f_g . t_c, (B, G, C).
        labels: (B,) int64.
        most_likely: K; C or more selects no patch.
    """
    p = logits.softmax(-1)
    near = p.topk(min(most_likely, p.shape[-1]), dim=-1).indices
    selected = (near != labels[:, None, None]).all(-1).to(p.dtype)
    terms = (p * (p + TINY).log()).sum(-1)
    return (selected * terms).sum() / selected.sum().clamp(min=1)


class FirstOfRow(ClassifierHead):
    """A classifier on rows of `simnl.clip.patches` that reads only the image's own feature."""

    def cosines(self, features: Tensor) -> Tensor:
        """s f W^T of the image's own feature, (B, C)."""
        return super().cosines(features[:, : self.classifier.shape[1]])


class LoCoOpHead(PromptHead):
    """Learned prompts on features of images and of patches.

    Args:
        weight: w.
        most_likely: K.
        inputs: the arguments of `PromptHead`.
    """

    def __init__(self, weight: float, most_likely: int, **inputs):
        super().__init__(**inputs)
        self.weight, self.most_likely = weight, most_likely

    def forward(self, features: Tensor) -> Tensor:
        """Raw features of images and patches (B, (1 + G) D) to logits (B, C)."""
        text = self.text_features()
        return self.logits(features[:, : text.shape[1]], text)

    def losses(self, features: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, and the weighted term of patches."""
        text = self.text_features()
        image, patches = image_and_patches(features, text.shape[1])
        entropy = patch_entropy_loss(self.logits(patches, text), labels, self.most_likely)
        return {"ce": F.cross_entropy(self.logits(image, text), labels), "patches": self.weight * entropy}

    def deployed(self) -> ClassifierHead:
        """A constant classifier for rows that include patches."""
        with torch.no_grad():
            return FirstOfRow(self.text_features(), self.logit_scale)


@TRAINER_REGISTRY.register()
class LoCoOp(LearnsPrompts, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c)); CE - w entropy of patches unlike the class
        learned: context vectors of the prompt
        parameters: M*W
        checked: authors' code: loss, gradients; the text tower written out
    """

    with_patches = True

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX: M. CTX_INIT: initial words. WEIGHT: w. MOST_LIKELY: K, 0 for round(C / 5). CHUNK: see `PromptHead`."""
        return CN({"N_CTX": 16, "CTX_INIT": "", "WEIGHT": 0.25, "MOST_LIKELY": 0, "CHUNK": 256})

    def build_head(self, task: FewShotTask, cfg: CN) -> LoCoOpHead:
        """Prompts of the class names around the initial context."""
        return LoCoOpHead(
            weight=cfg.WEIGHT,
            most_likely=cfg.MOST_LIKELY or max(1, round(task.num_classes / 5)),
            **self.prompt_inputs(task, cfg),
        )
