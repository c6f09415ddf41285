"""CoOp: a prompt whose words around the class name are learned.

    t_c    = norm(text([v_1] ... [v_M] [class c] .))
    logits = s f . t_c                     f the unit image feature, s the model's logit scale
    loss   = CE

Both towers are frozen. M context vectors of the text tower's width W are learned: one set for all classes (M W
numbers), or with CSC one set per class (C M W numbers). The vectors start at N(0, 0.02^2), and each set has a draw of
its own. They can also start at the embeddings of given words; these are one set for all classes, so that CSC has no
effect. In each step the text tower runs once for all classes; image features come from the store. CoOp can carry
SimNL's negative branch (`NEGATIVE` in its config node, simnl/fewshot/negative.py), which adds evidence
against each class.

Source: Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, arXiv:2109.01134, and the authors'
released code.
Differences from the authors' code: the vectors are in float32, where the authors' code has half precision. There are as
many vectors as the initial words have tokens; the authors' code learns as many as there are words and leaves further
tokens as they are.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results.
tests/trainers/test_coop.py compares with the text tower itself.
"""

from __future__ import annotations

import logging

from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.prompt_learning import LearnedPrompts
from simnl.fewshot.capabilities import is_on_new_classes
from simnl.fewshot.head import ClassifierHead
from simnl.fewshot.negative import CarriesNegative, NegativeBranch, NegativeOptions, OffersNegative
from simnl.fewshot.prompt_head import LearnsPrompts, PromptHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

log = logging.getLogger(__name__)


class CoOpHead(CarriesNegative, PromptHead):
    """Cosine with the text features of learned prompts, beside the negative branch if there is one.

    Args:
        prompts, context, logit_scale, chunk: the arguments of `PromptHead`.
        negative: the negative branch; None for the plain method.
    """

    def __init__(
        self,
        prompts: LearnedPrompts,
        context: Tensor,
        logit_scale: float,
        chunk: int,
        negative: NegativeBranch | None = None,
    ):
        super().__init__(prompts, context, logit_scale, chunk)
        self.negative = negative

    def deployed(self) -> ClassifierHead:
        """Deploy as the base class does, with the negative branch."""
        plain = super().deployed()
        return ClassifierHead(plain.classifier, self.logit_scale, negative=self.deployed_negative())

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        logits = super().forward(features)
        return logits if self.negative is None else logits + self.negative(features)


@TRAINER_REGISTRY.register()
class CoOp(OffersNegative, LearnsPrompts, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c))
        learned: context vectors of the prompt
        parameters: M*W
        checked: authors' code, once; the text tower written out
    """

    base_to_new = True  # with one context for all classes
    revision = 2  # 1: with CSC all classes shared one draw, and initial words were not shared

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX: M. CTX_INIT: initial words. CSC: a context per class. POSITION of the name. CHUNK: classes at once."""
        node = CN({"N_CTX": 16, "CTX_INIT": "", "CSC": False, "POSITION": "end", "CHUNK": 256})
        node.NEGATIVE = CN(NegativeOptions.defaults())
        return node

    def check_cfg(self, cfg: CN) -> None:
        """Check as the base class does, and refuse contexts of single classes for new classes."""
        super().check_cfg(cfg)
        on_new_classes = any(map(is_on_new_classes, cfg.TEST.TARGETS))
        if cfg.TRAINER.COOP.CSC and cfg.TRAINER.COOP.CTX_INIT:
            log.warning(
                "TRAINER.COOP.CSC has no effect: all classes share a context that starts from words (CTX_INIT), "
                "as in the authors' code."
            )
        elif cfg.TRAINER.COOP.CSC and on_new_classes:
            raise ValueError("With TRAINER.COOP.CSC each class has its own context, so there is none for new classes.")
        if cfg.TRAINER.COOP.NEGATIVE.ENABLED and on_new_classes:
            raise ValueError("TRAINER.COOP.NEGATIVE learns a residual per class, so it cannot classify new classes.")

    def build_head(self, task: FewShotTask, cfg: CN) -> CoOpHead:
        """Prompts of the class names around the initial context."""
        inputs = self.prompt_inputs(task, cfg, task.num_classes if cfg.CSC else None)
        return CoOpHead(**inputs, negative=NegativeBranch.of(task, cfg.NEGATIVE))
