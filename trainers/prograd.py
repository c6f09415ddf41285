"""ProGrad: CoOp without steps that contradict the hand-made prompt.

    t_c  = norm(text([v_1] ... [v_M] [class c] .)),   logits l = s f . t_c        f the unit image feature, s the
    u_c  = norm(text(template of c)), frozen;         teacher l0 = s f . u_c      model's logit scale
    L_ce = CE(l, y),   L_kl = -T^2 mean_n sum_c softmax(l0 / T) log softmax(l / T)
    a    = dL_ce / dv,   b = dL_kl / dv               v: all context vectors as one vector
    step with  a - k (a . b) b / |b|^2  if a . b < 0,  else with a

With k = 1 a step has no part that raises L_kl; with k = 0 the method is CoOp. Both towers are frozen. M context vectors
of the text tower's width W are learned, which are one set for all classes. A step costs two backward passes through the
text tower.

Source: Zhu et al., "Prompt-aligned Gradient for Prompt Tuning", ICCV 2023, arXiv:2205.14865, and the authors' released
code.
Differences from the authors' code: numbers are in float32, where the authors' code has half precision. Preset
`official` keeps two quirks (PADDED). Only the last vectors are not zero, as many as there are initial words between
spaces. And a comma is also a token, so that there is no vector for the last word of some templates, which stays between
the vectors and the class name. `official` also keeps the authors' templates, in which the class name is last, and their
epochs and dropped last batches. Parity: tests/parity/test_prompt_learners.py compares with recorded outputs of the
authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.prompt_learning import LearnedPrompts, TextTower, context_from_words, num_tokens
from simnl.fewshot.prompt_head import LearnsPrompts, PromptHead, initial_context
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


def without_conflict(gradient: Tensor, teacher: Tensor, share: float) -> Tensor:
    """The gradient without (a share of) its part against the gradient of the teacher, if the two conflict.

    Args:
        gradient, teacher: tensors of one shape, each read as one vector. A teacher of zeros changes nothing.
        share: k, from 0 to 1.
    """
    unit = teacher / teacher.norm()
    along = (gradient * unit).sum()
    return torch.where(along < 0, gradient - share * along * unit, gradient)


def padded_context(tower: TextTower, words: str, num_context: int) -> tuple[Tensor, str]:
    """The authors' initial context: zeros, then the embeddings of the first tokens of the words, one for each word.

    Returns:
        The context (M, W), and the words at the end whose tokens are not in it.

    Raises:
        ValueError: there are more words than vectors, or the words at the end do not have as many tokens as are left.
    """
    tokens, split = context_from_words(tower, words), words.split()
    left = len(tokens) - len(split)
    tails = (" ".join(split[len(split) - n :]) for n in range(1, len(split) + 1))
    tail = next((text for text in tails if num_tokens(tower.clip, text) == left), "") if left else ""
    if len(split) > num_context or (left and not tail):
        raise ValueError(
            f"TRAINER.PROGRAD.CTX_INIT '{words}' does not fit {num_context} padded vectors (N_CTX). Use fewer or "
            "plainer words, or set TRAINER.PROGRAD.PADDED to False."
        )
    padding = tokens.new_zeros(num_context - len(split), tokens.shape[1])
    return torch.cat([padding, tokens[: len(split)]]), tail


class ProGradHead(PromptHead):
    """Learned prompts whose gradient does not contradict a frozen classifier.

    Args:
        teacher: u, unit rows, (C, D).
        share: k, the share of the conflicting part that is removed.
        temperature: T.
        inputs: the arguments of `PromptHead`.
    """

    teacher: Tensor

    def __init__(self, teacher: Tensor, share: float, temperature: float, **inputs):
        super().__init__(**inputs)
        self.share, self.temperature = share, temperature
        self.frozen_buffer("teacher", teacher)

    def terms(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """L_ce and L_kl."""
        logits, t = self(features), self.temperature
        targets = (self.logits(features, self.teacher) / t).softmax(-1)
        return F.cross_entropy(logits, labels), t**2 * F.cross_entropy(logits / t, targets)

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in value, with the gradient without conflict."""
        ce, kl = self.terms(features, labels)
        if not torch.is_grad_enabled():
            return {"ce": ce}
        (against,) = torch.autograd.grad(kl, self.context, retain_graph=True)
        (gradient,) = torch.autograd.grad(ce, self.context)
        step = without_conflict(gradient, against, self.share)
        return {"ce": ce.detach() + (step * (self.context - self.context.detach())).sum()}


@TRAINER_REGISTRY.register()
class ProGrad(LearnsPrompts, VLTrainer):
    """The method as a trainer. The templates make the teacher.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c)); gradients lose their part against the template's
        learned: context vectors of the prompt
        parameters: M*W
        checked: authors' code, K = 1 … 16; the text tower written out
    """

    prompt_sets = ("template",)  # for the teacher

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX: M without initial words, or with PADDED. CTX_INIT: initial words. SHARE: k. CHUNK: classes at once."""
        return CN(
            {"N_CTX": 16, "CTX_INIT": "a photo of a", "PADDED": False, "SHARE": 1.0, "TEMPERATURE": 1.0, "CHUNK": 256}
        )

    def build_head(self, task: FewShotTask, cfg: CN) -> ProGradHead:
        tower, tail = TextTower(task.clip), ""
        if cfg.PADDED:
            context, tail = padded_context(tower, cfg.CTX_INIT, cfg.N_CTX)
        else:
            context = initial_context(tower, cfg.CTX_INIT, cfg.N_CTX, self.cfg.SEED)
        names = [f"{tail} {name}".strip() for name in task.classnames]
        return ProGradHead(
            teacher=task.text_features("template"),
            share=cfg.SHARE,
            temperature=cfg.TEMPERATURE,
            prompts=LearnedPrompts(tower, names, len(context)),
            context=context,
            logit_scale=task.logit_scale,
            chunk=cfg.CHUNK,
        )
