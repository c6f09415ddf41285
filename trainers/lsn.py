"""LSN: each class has a learned prompt, and learned negative prompts for what is not of the class.

    t_c    = norm(text([v_1] ... [v_M] [class c] .))            one context for all classes
    q_kc   = norm(text([u_kc1] ... [u_kcM] [class c] .))        K sets; in each, every class has a context of its own
    logits = s f . t_c                                          f the unit image feature, s the model's logit scale
    loss   = CE(s f . t_c) + sum_k CE(20 (1 - f . q_kc)) + w/2 sum over pairs of sets of mean_c q_kc . q_jc
    score `lsn` = max_c softmax_c(f . t_c) + mean_k max_c softmax_c((1 - f . q_kc) / 5)

Both towers are frozen. Learned are the context (M W numbers) and the negative prompts (K C M W numbers), whose logits
are large if the image is unlike the text. The last term makes the sets differ. The two maxima of a score may be of
different classes.

Source: Nie et al., "Out-of-Distribution Detection with Negative Prompts", ICLR 2024
(https://openreview.net/forum?id=nanyAujl6e), and the authors' released code (https://github.com/junz-debug/lsn).
Differences from the authors' code: numbers are in float32. One optimiser, Adam, learns all prompts in the same steps
(the authors' code has SGD for t, and then Adam for each set), so that a set is kept apart from the current state of the
others. All classes of a set start at the same draw, so that figures do not depend on how classes are numbered.
`official` keeps the code's softmax before the cross-entropy, which is a second softmax (SOFTMAX_TWICE), and its batches
of 8; the weight of the last term is 1 in the code and 0.1 in the paper. Parity: tests/parity/test_detectors.py compares
with recorded outputs of the authors' code; tests/trainers/test_negative_prompts.py has the formulas in float64.
"""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.prompt_head import LearnsPrompts, PromptHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

SHARPNESS = 20.0  # factor in the softmax of the negative prompts in training
SOFTNESS = 5.0  # temperature of this softmax in the score


def cross_entropy(logits: Tensor, labels: Tensor, twice: bool) -> Tensor:
    """CE of logits (B, C). With `twice`, their softmax is used as logits, as in the authors' code."""
    return F.cross_entropy(logits.softmax(-1) if twice else logits, labels)


def alikeness(sets: Tensor) -> Tensor:
    """Half the sum over pairs of sets (K, C, D) of unit rows of the mean cosine of their rows for the same class.

    Its gradient with respect to a set equals that of the authors' code, which takes the mean over the two other sets
    and holds them fixed.
    """
    pairs = [(one * other).sum(-1).mean() for one, other in combinations(sets, 2)]
    return torch.stack(pairs).sum() / 2 if pairs else sets.new_zeros(())


def lsn_score(cosines: Tensor, negative: Tensor) -> Tensor:
    """max_c softmax_c(z) + mean_k max_c softmax_c((1 - z_k) / 5), (B,). cosines: (B, C); negative: (K, B, C)."""
    return cosines.softmax(-1).amax(-1) + ((1 - negative) / SOFTNESS).softmax(-1).amax(-1).mean(0)


class LSNHead(PromptHead):
    """Learned prompts and learned negative prompts. Learned: `context` (M, W), `negatives` (K, C, M, W).

    Args:
        negatives: the initial negative contexts.
        weight: w.
        factor: the factor on the learning rate of the negative prompts.
        twice: see `cross_entropy`.
        inputs: the arguments of `PromptHead`.
    """

    def __init__(self, negatives: Tensor, weight: float, factor: float, twice: bool, **inputs):
        super().__init__(**inputs)
        self.weight, self.factor, self.twice = weight, factor, twice
        self.negatives = nn.Parameter(negatives.clone())

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The negative prompts have a learning rate of their own."""
        return [(1.0, [self.context]), (self.factor, [self.negatives])]

    def negative_features(self) -> Tensor:
        """q, unit rows (K, C, D)."""
        return self.remembered("negatives", lambda: torch.stack([self.encode_prompts(u) for u in self.negatives]))

    def losses(self, features: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """The cross-entropies of the prompts and of the negative prompts, and the likeness of the sets."""
        f, q = F.normalize(features, dim=-1), self.negative_features()
        denied = [cross_entropy(SHARPNESS * (1 - f @ rows.T), labels, self.twice) for rows in q]
        return {
            "ce": cross_entropy(self(features), labels, self.twice),
            "negative": torch.stack(denied).sum(),
            "alike": self.weight * alikeness(q),
        }

    def own_scores(self, features: Tensor) -> dict[str, Tensor]:
        """`lsn`, (B,)."""
        f = F.normalize(features, dim=-1)
        return {"lsn": lsn_score(f @ self.text_features().T, f @ self.negative_features().mT)}


@TRAINER_REGISTRY.register()
class LSN(LearnsPrompts, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c)), beside 3 sets of learned negative prompts
        learned: context vectors of the prompt, and of each class's negative prompts
        parameters: M*W + 3*C*M*W
        checked: authors' code: losses, gradients, score; the text tower written out
    """

    base_to_new = False  # each class has negative prompts of its own

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX: M. SETS: K. WEIGHT: w. NEGATIVE_FACTOR: factor on the learning rate. CHUNK: see `PromptHead`."""
        return CN({"N_CTX": 16, "SETS": 3, "WEIGHT": 0.1, "NEGATIVE_FACTOR": 2.0, "SOFTMAX_TWICE": False, "CHUNK": 256})

    def build_head(self, task: FewShotTask, cfg: CN) -> LSNHead:
        """Make random contexts, with one draw for the prompts and one for each set of negative prompts."""
        inputs = self.prompt_inputs(task, cfg)
        shape = (cfg.SETS, 1, *inputs["context"].shape)
        draws = 0.02 * torch.randn(shape, generator=seeded_generator(self.cfg.SEED, "negative context"))
        return LSNHead(
            negatives=draws.expand(-1, task.num_classes, -1, -1),
            weight=cfg.WEIGHT,
            factor=cfg.NEGATIVE_FACTOR,
            twice=cfg.SOFTMAX_TWICE,
            **inputs,
        )
