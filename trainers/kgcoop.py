"""KgCoOp: CoOp whose text features are pulled towards those of the hand-made prompt.

    t_c    = norm(text([v_1] ... [v_M] [class c] .)),     u_c = norm(text(template of c)), frozen
    logits = s f . t_c                                    f the unit image feature, s the model's logit scale
    loss   = CE + w (1 - mean_c t_c . u_c)

Both towers are frozen. M context vectors of the text tower's width W are learned; they are one set for all classes, and
start at given words. If the template consists of these words around the class name, the pull and its gradient start at
0.

Source: Yao et al., "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", CVPR 2023,
arXiv:2303.13283, and the authors' released code.
Differences from the authors' code: numbers are in float32, where the authors' code has half precision. In that code M
is 4 whatever N_CTX says where the vectors start from words; here M is the number of the words' tokens, which is 4 for
the authors' words. Preset `official` keeps the authors' templates, batches of 128, dropped last batches, 100 epochs and
crops.
Parity: tests/parity/test_prompt_learners.py compares with recorded outputs of the authors' code.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.losses import consistency_loss
from simnl.fewshot.prompt_head import LearnsPrompts, PromptHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


class KgCoOpHead(PromptHead):
    """Learned prompts that stay near frozen ones.

    Args:
        anchors: u, unit rows, (C, D).
        weight: w, the weight of the pull.
        inputs: the arguments of `PromptHead`.
    """

    anchors: Tensor

    def __init__(self, anchors: Tensor, weight: float, **inputs):
        super().__init__(**inputs)
        self.weight = weight
        self.frozen_buffer("anchors", anchors)

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, and the weighted distance of the text features from the frozen ones."""
        text = self.text_features()
        pull = consistency_loss(text, self.anchors, dim=1)
        return {"ce": F.cross_entropy(self.logits(features, text), labels), "kg": self.weight * pull}


@TRAINER_REGISTRY.register()
class KgCoOp(LearnsPrompts, VLTrainer):
    """The method as a trainer. The templates make the frozen text features.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c)); CE + w (1 - mean_c cosine with the template's text)
        learned: context vectors of the prompt
        parameters: M*W
        checked: authors' code, K = 1 … 16; the text tower written out
    """

    prompt_sets = ("template",)  # for the anchors

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX: M without initial words. CTX_INIT: initial words. WEIGHT: w. CHUNK: see `PromptHead`."""
        return CN({"N_CTX": 4, "CTX_INIT": "a photo of a", "WEIGHT": 8.0, "CHUNK": 256})

    def build_head(self, task: FewShotTask, cfg: CN) -> KgCoOpHead:
        return KgCoOpHead(anchors=task.text_features("template"), weight=cfg.WEIGHT, **self.prompt_inputs(task, cfg))
