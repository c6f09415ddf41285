"""What heads of learned prompts have in common: context vectors, and the text features that follow from them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simnl.clip.prompt_learning import LearnedPrompts, TextTower, context_from_words
from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.loaders import seeded_generator


def initial_context(
    tower: TextTower, words: str, num_context: int, seed: int, num_classes: int | None = None
) -> Tensor:
    """The vectors at the start: the embeddings of the words, or N(0, 0.02^2) where there are none.

    Args:
        tower: the text tower.
        words: the text whose tokens give the vectors, for all classes in common; empty: the vectors are random.
        num_context: M, the number of random vectors.
        seed: the seed of the run.
        num_classes: C, for random vectors with a draw of its own for each class; None: one draw for all.

    Returns:
        (M, W), or (C, M, W).
    """
    if words:
        return context_from_words(tower, words)
    shape = (num_context, tower.width) if num_classes is None else (num_classes, num_context, tower.width)
    return 0.02 * torch.randn(shape, generator=seeded_generator(seed, "context"))


class PromptHead(Head):
    """Cosine with the text features of learned prompts. Only `context` is learned, (M, W) or (C, M, W).

    Args:
        prompts: the prompts of all classes.
        context: the vectors at the start.
        logit_scale: s.
        chunk: the number of classes that are encoded at once, to save memory; 0: all.
    """

    def __init__(self, prompts: LearnedPrompts, context: Tensor, logit_scale: float, chunk: int):
        super().__init__()
        self.prompts, self.logit_scale, self.chunk = prompts, logit_scale, chunk
        self.context = nn.Parameter(context.clone())
        self._known: tuple[int, Tensor] | None = None

    def text_features(self) -> Tensor:
        """t, unit rows (C, D); without gradients they are computed once for each state of the context."""
        if torch.is_grad_enabled():
            return self._encode()
        if self._known is None or self._known[0] != self.context._version:
            self._known = self.context._version, self._encode()
        return self._known[1]

    def _encode(self) -> Tensor:
        p = self.prompts
        return F.normalize(p.tower.encode(p.tokens, p.embeddings(self.context), self.chunk), dim=-1)

    def deployed(self) -> ClassifierHead:
        """Text features of the learned prompts as a constant classifier, for which no text tower is needed."""
        with torch.no_grad():
            return ClassifierHead(self.text_features(), self.logit_scale)

    def logits(self, features: Tensor, text: Tensor) -> Tensor:
        """Raw image features (B, D) and unit text features (C, D) to logits (B, C): s f . t_c."""
        return self.logit_scale * F.normalize(features, dim=-1) @ text.T

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        return self.logits(features, self.text_features())
