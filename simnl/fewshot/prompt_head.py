"""The base of heads with learned prompts: context vectors, and the text features that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from simnl.clip.prompt_learning import LearnedPrompts, TextTower, context_from_words
from simnl.fewshot.capabilities import CLIP_TEXT
from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask


def initial_context(
    tower: TextTower, words: str, num_context: int, seed: int, num_classes: int | None = None
) -> Tensor:
    """The initial context vectors: the embeddings of the words, or N(0, 0.02^2) without words.

    Args:
        tower: the text tower.
        words: the text whose tokens give the vectors, which all classes share; empty for random vectors.
        num_context: M, the number of random vectors.
        seed: the seed of the run.
        num_classes: C, for random vectors that are drawn for each class; None if all classes share one draw.

    Returns:
        (M, W), or (C, M, W).
    """
    if words:
        return context_from_words(tower, words)
    shape = (num_context, tower.width) if num_classes is None else (num_classes, num_context, tower.width)
    return 0.02 * torch.randn(shape, generator=seeded_generator(seed, "context"))


class LearnsPrompts:
    """The declarations of a method that learns the words around class names; a base class that stands before
    `VLTrainer`.

    Such a method runs the text tower while it learns, reads prompts at the end of the text, as CLIP's own tower does,
    and works for classes not seen in training.
    """

    cfg: CN
    prompt_sets: tuple[str, ...] = ()
    text_features_cached: bool = False
    needs_text: str = CLIP_TEXT
    base_to_new: bool = True

    def prompt_inputs(self, task: FewShotTask, node: CN, num_classes: int | None = None) -> dict[str, Any]:
        """The arguments of `PromptHead`, from the keys N_CTX, CHUNK, CTX_INIT and POSITION of the method's node.

        The last two keys are optional. `num_classes` is as for `initial_context`.
        """
        tower = TextTower(task.clip)
        context = initial_context(tower, node.get("CTX_INIT", ""), node.N_CTX, self.cfg.SEED, num_classes)
        prompts = LearnedPrompts(tower, task.classnames, context.shape[-2], node.get("POSITION", "end"))
        return {"prompts": prompts, "context": context, "logit_scale": task.logit_scale, "chunk": node.CHUNK}


class PromptHead(Head):
    """Cosine with the text features of learned prompts. Only `context` is learned, (M, W) or (C, M, W).

    Args:
        prompts: the prompts of all classes.
        context: the initial vectors.
        logit_scale: s.
        chunk: the number of classes that are encoded at once, to save memory; 0 for all.
    """

    def __init__(self, prompts: LearnedPrompts, context: Tensor, logit_scale: float, chunk: int):
        super().__init__()
        self.prompts, self.logit_scale, self.chunk = prompts, logit_scale, chunk
        self.context = nn.Parameter(context.clone())
        self._known: dict[str, tuple[int, Tensor]] = {}

    def text_features(self) -> Tensor:
        """Text features t, unit rows (C, D). Without gradients they are computed once for each state of the context."""
        return self.remembered("context", lambda: self.encode_prompts(self.context))

    def remembered(self, name: str, encode: Callable[[], Tensor]) -> Tensor:
        """The result of `encode` for the parameter `name`. Without gradients it is computed once per state."""
        if torch.is_grad_enabled():
            return encode()
        version = self.get_parameter(name)._version
        if name not in self._known or self._known[name][0] != version:
            self._known[name] = version, encode()
        return self._known[name][1]

    def encode_prompts(self, context: Tensor) -> Tensor:
        """Unit text features (C, D) of the prompts with a context (M, W), or (C, M, W)."""
        p = self.prompts
        return F.normalize(p.tower.encode(p.tokens, p.embeddings(context), self.chunk), dim=-1)

    def texts(self) -> Tensor:
        """As `text_features`."""
        return self.text_features()

    def deployed(self) -> ClassifierHead:
        """A head with the text features of the learned prompts as a constant classifier, without the text tower."""
        with torch.no_grad():
            return ClassifierHead(self.text_features(), self.logit_scale)

    def logits(self, features: Tensor, text: Tensor) -> Tensor:
        """Raw image features (B, D) and unit text features (C, D) to logits (B, C): s f . t_c."""
        return self.logit_scale * F.normalize(features, dim=-1) @ text.T

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        return self.logits(features, self.text_features())
