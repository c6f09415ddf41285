"""Prompts with learned context vectors, and the text tower as a differentiable function of token embeddings.

A prompt is [SOS] [v_1 ... v_M] [class name] [.] [EOS]: M learned vectors in the place of words. The tower stays frozen;
gradients flow through it to the vectors.

Source: Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, arXiv:2109.01134.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from simnl.clip.architectures import hub_tokenizer
from simnl.clip.model import FrozenCLIP
from simnl.clip.recipe import Rebuildable
from simnl.clip.text import PromptSet, class_weights, readable, text_ends
from simnl.clip.towers import NOTHING, Deep, Tokens, Weights, called, check_blocks, run_blocks
from simnl.config_names import check_choice

POSITIONS = ("end", "middle", "front")


class TextTower(Rebuildable):
    """The frozen text tower as a differentiable function of token embeddings (P, L, W) that gives text features (P, D).

    With causal attention, tokens after the end of the longest prompt change nothing. L may then be shorter than the
    context length, which gives the same result at a lower cost.

    Args:
        clip: the frozen model.

    Raises:
        ValueError: the text tower does not consist of token embeddings, positions and a transformer.
    """

    def __init__(self, clip: FrozenCLIP):
        tower: Any = clip.whole if hasattr(clip.whole, "token_embedding") else getattr(clip.whole, "text", None)
        known = all(hasattr(tower, name) for name in ("token_embedding", "positional_embedding", "transformer"))
        pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", ""))
        by_clip = not hub_tokenizer(clip.arch)  # whose token of the end of text has the highest number
        otherwise = getattr(tower, "cls_emb", None) is not None or getattr(tower, "use_pad_mask", False)  # as in CoCa
        if not known or pool != "argmax" or not by_clip or otherwise:
            raise ValueError(
                f"Prompts cannot be learned for {clip.arch}: its text tower is none of open_clip's plain transformers "
                "over CLIP's own tokens that is read at the end of the text. Choose a backbone of OpenAI's kind (rn50, "
                "vit_b16, ...)."
            )
        self.clip, self._tower = clip, tower

    @property
    def width(self) -> int:
        """W, the width of token embeddings."""
        return self._tower.token_embedding.embedding_dim

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids (P, L) to embeddings (P, L, W), float32."""
        return self._tower.token_embedding(tokens.to(self.clip.device)).float()

    def used_length(self, tokens: Tensor) -> int:
        """The positions of prompts (P, L) that matter: up to the last end of text, or all without a causal mask."""
        return tokens.shape[1] if self._tower.attn_mask is None else int(text_ends(tokens).max()) + 1

    @property
    def module(self) -> Any:
        """open_clip's module that holds the weights. Methods that change weights need their names.

        Raises:
            ValueError: the blocks are not open_clip's plain ones.
        """
        check_blocks(self.clip, "text", self._tower.transformer)
        return self._tower

    @property
    def num_blocks(self) -> int:
        """The number of blocks."""
        return len(self.module.transformer.resblocks)

    def encode(
        self, tokens: Tensor, embeddings: Tensor, chunk: int = 0, deep: Deep = NOTHING, weights: Weights = NOTHING
    ) -> Tensor:
        """Raw text features.

        Args:
            tokens: (P, L) int64, from which the pooling rule finds the end of a prompt.
            embeddings: (P, L, W).
            chunk: the number of prompts that are encoded at once; 0 for all. With more prompts, the activations of a
                chunk are computed again in the backward pass, so that a chunk bounds the memory.
            deep: tokens at the inputs of blocks, for all prompts or for each of them. Inserted tokens move the place at
                which the feature is read.
            weights: changed weights.

        Returns:
            (P, D) float32.
        """
        if not chunk or len(tokens) <= chunk:
            return self._encode(tokens, embeddings, deep, weights)
        features = []
        for start in range(0, len(tokens), chunk):
            rows = slice(start, start + chunk)
            part = {block: t.of_rows(rows) for block, t in deep.items()}
            features.append(
                checkpoint(self._encode, tokens[rows], embeddings[rows], part, weights, use_reentrant=False)
            )
        return torch.cat(features)

    def _encode(self, tokens: Tensor, embeddings: Tensor, deep: Deep, weights: Weights) -> Tensor:
        tower, length = self._tower, embeddings.shape[1]
        more = sum(t.count for t in deep.values() if t.insert)
        with self.clip.autocast(self.clip.text_precision):
            x = (embeddings + tower.positional_embedding[:length]).to(tower.transformer.get_cast_dtype())
            if deep or weights:
                x = run_blocks(self.module.transformer, x, deep, weights, self._mask(length + more))
            else:
                x = tower.transformer(x, attn_mask=self._mask(length))
            x = called(tower.ln_final, "ln_final.", weights, x)
            x = text_global_pool(x, F.pad(tokens, (more, 0)), "argmax")
            project = tower.text_projection
            if project is not None:
                x = project(x) if isinstance(project, nn.Linear) else x @ project
        return x.float()

    def _mask(self, length: int) -> Tensor | None:
        """The tower's mask (L, L) for a sequence of any length; None if every token sees all others."""
        mask = self._tower.attn_mask
        if mask is None or length <= len(mask):
            return None if mask is None else mask[:length, :length]
        return mask.new_full((length, length), float("-inf")).triu_(1)


class Sentences(Rebuildable):
    """Prompts in words, in which learned vectors replace the first tokens after the start of text.

    Args:
        tower: the text tower.
        sentences: P prompts.
    """

    def __init__(self, tower: TextTower, sentences: Sequence[str]):
        tokens = tower.clip.tokenize(list(sentences))
        self.tower = tower
        self.tokens = tokens[:, : tower.used_length(tokens)].to(tower.clip.device)
        self._embeddings = tower.embed(self.tokens)

    def embeddings(self, context: Tensor | None = None) -> Tensor:
        """Embeddings (P, L, W) of the words, with the context (n, W) at positions 1 .. n if there is one."""
        return self._embeddings if context is None else Tokens(context, 1).put(self._embeddings)

    def encode(
        self, context: Tensor | None = None, chunk: int = 0, deep: Deep = NOTHING, weights: Weights = NOTHING
    ) -> Tensor:
        """Raw features (P, D). The arguments are those of `embeddings` and `TextTower.encode`."""
        return self.tower.encode(self.tokens, self.embeddings(context), chunk, deep, weights)


def plain_text_features(clip: FrozenCLIP, templates: Sequence[str], classnames: Sequence[str]) -> Tensor:
    """The mean over templates of the raw features of each class by the frozen text tower, (C, D) float32."""
    prompts = PromptSet.from_templates(templates, classnames)
    features = clip.text_rows(clip.tokenize(list(prompts.prompts)))
    classes = torch.tensor(prompts.classes, device=features.device)
    return class_weights(features, classes, len(classnames), "mean")


class LearnedPrompts(Rebuildable):
    """The prompts of all classes, with M places for context vectors.

    Args:
        tower: the text tower.
        classnames: the C class names.
        num_context: M.
        position: the place of the class name. With `end` the vectors are before the name, with `middle` half of them
            before and half after it, and with `front` all after it.

    Raises:
        ValueError: the position is unknown, there are no vectors, or a prompt exceeds the context length.
    """

    def __init__(self, tower: TextTower, classnames: Sequence[str], num_context: int, position: str = "end"):
        check_choice("The class position", position, POSITIONS)
        if num_context < 1:
            raise ValueError(f"At least one context vector is needed, but there are {num_context}.")
        self.tower, self.num_context = tower, num_context
        names = [readable(name) for name in classnames]
        lengths = [num_tokens(tower.clip, name) for name in names]
        longest = max(range(len(names)), key=lambda i: lengths[i])
        room = tower.clip.context_length - num_context - 3  # start, end, full stop
        if lengths[longest] > room:
            raise ValueError(
                f"{num_context} context vectors leave room for {room} tokens of a class name, but '{names[longest]}' "
                f"has {lengths[longest]}. Use fewer vectors."
            )
        tokens = tower.clip.tokenize([" ".join(["X"] * num_context) + f" {name}." for name in names])
        self.tokens = tokens[:, : tower.used_length(tokens)].to(tower.clip.device)
        self._embeddings = tower.embed(self.tokens)
        self._order = self._places(lengths, position).to(tower.clip.device)

    def _places(self, lengths: Sequence[int], position: str) -> Tensor:
        """For each position of a prompt, the position in the form `end` that belongs there, (C, L)."""
        total, m = self.tokens.shape[1], self.num_context
        context, rows = list(range(1, 1 + m)), []
        before = {"end": m, "middle": m // 2, "front": 0}[position]
        for length in lengths:
            name = list(range(1 + m, 1 + m + length))
            rows.append([0, *context[:before], *name, *context[before:], *range(1 + m + length, total)])
        return torch.tensor(rows)

    def embeddings(self, context: Tensor) -> Tensor:
        """Token embeddings with the context in place.

        Args:
            context: (M, W) for all classes, (C, M, W) for each class, or (B, 1, M, W) for each of B images.

        Returns:
            (C, L, W), or (B, C, L, W).
        """
        fixed, m = self._embeddings, self.num_context
        shape = (*context.shape[:-3], len(fixed))
        context = context.expand(*shape, m, context.shape[-1])
        start, rest = (part.expand(*shape, *part.shape[1:]) for part in (fixed[:, :1], fixed[:, 1 + m :]))
        x = torch.cat([start, context, rest], dim=-2)
        return x.gather(-2, self._order.unsqueeze(-1).expand_as(x))


def context_from_words(tower: TextTower, words: str) -> Tensor:
    """The embeddings (M, W) of words, one vector per token.

    Raises:
        ValueError: there are no words.
    """
    count = num_tokens(tower.clip, readable(words))
    if not count:
        raise ValueError("Context vectors should start from words, but no words are given.")
    return tower.embed(tower.clip.tokenize([readable(words)]))[0, 1 : 1 + count].clone()


def num_tokens(clip: FrozenCLIP, text: str) -> int:
    """The number of tokens of a text, without start and end."""
    return int(text_ends(clip.tokenize([text]))) - 1
