"""LoRA on the attention of both towers of an open_clip model: h = W x + (alpha / sqrt(rank)) B A dropout(x).

W is the frozen projection of the queries, keys or values; A (rank, D) and B (D, rank) are learned. The scale divides by
the root of the rank, as in rsLoRA (arXiv:2312.03732). LoRA itself divides by the rank (Hu et al., ICLR 2022,
arXiv:2106.09685).

The adapted model consists of new modules around the frozen model's own tensors. So it needs no memory beyond A and B,
and the frozen model, which all methods of a process share, does not change.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import Transformer
from torch import Tensor, nn

from simnl.clip.model import FrozenCLIP
from simnl.clip.recipe import Rebuildable
from simnl.clip.text import text_ends

PROJECTIONS = 3  # queries, keys, values: in this order in the packed weight of nn.MultiheadAttention
TEXTS = 256  # prompts that are encoded at once, which bounds the memory
ADVICE = "LoRA is offered for open_clip's own transformers, such as ViT-B-16 and ViT-L-14. Choose one of them."


@dataclass(frozen=True)
class LoRAOptions(Rebuildable):
    """The rank r, the factor alpha of the change (besides 1 / sqrt(r)), and the dropout on the input of A in training.

    Raises:
        ValueError: a value is out of its range. The message names the config key.
    """

    rank: int = 2
    alpha: float = 1.0
    dropout: float = 0.25

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"RANK is {self.rank}, but it must be 1 or more (authors: 2).")
        if self.alpha <= 0:
            raise ValueError(f"ALPHA is {self.alpha}, but the factor of the change must be above 0 (authors: 1).")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"DROPOUT is {self.dropout}, but it must be from 0 to below 1 (authors: 0.25).")

    @property
    def scaling(self) -> float:
        """alpha / sqrt(rank)."""
        return self.alpha / self.rank**0.5


class LowRank(nn.Module):
    """The learned tensors of an attention block: `a` (3, r, D), Kaiming-uniform at first, and `b` (3, D, r), zeros."""

    def __init__(self, width: int, options: LoRAOptions, generator: torch.Generator):
        super().__init__()
        self.options = options
        self.a = nn.Parameter(torch.empty(PROJECTIONS, options.rank, width))
        self.b = nn.Parameter(torch.zeros(PROJECTIONS, width, options.rank))
        for matrix in self.a.detach():
            nn.init.kaiming_uniform_(matrix, a=5**0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to the changes of queries, keys and values side by side, (..., 3 D); each has a dropout mask."""
        inputs = (F.dropout(x, self.options.dropout, self.training) for _ in range(PROJECTIONS))
        changes = [F.linear(F.linear(i, a), b) for i, a, b in zip(inputs, self.a, self.b, strict=True)]
        return self.options.scaling * torch.cat(changes, dim=-1)

    def merged(self, weight: Tensor) -> Tensor:
        """The packed weight (3 D, D) with the changes added, which is the same function without dropout."""
        return weight + self.options.scaling * (self.b @ self.a).flatten(0, 1)


class LoRAAttention(nn.Module):
    """Replaces the self-attention of a block. In training the change is computed beside W, in evaluation it is added to
    W.

    Args:
        attention: the frozen module, batch first, with a packed projection.
        lora: the adapter of the same width.
    """

    def __init__(self, attention: nn.MultiheadAttention, lora: LowRank):
        super().__init__()
        self.attention, self.lora = attention, lora

    def forward(self, x: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask=None):
        """(B, L, D) to (B, L, D), as a pair with None; `key` and `value` are x. `attn_mask` is added to the logits,
        (L, L) or (B heads, L, L)."""
        frozen = self.attention
        if self.lora.training:
            packed = F.linear(x, frozen.in_proj_weight, frozen.in_proj_bias) + self.lora(x)
        else:
            packed = F.linear(x, self.lora.merged(frozen.in_proj_weight), frozen.in_proj_bias)
        parts = packed.chunk(PROJECTIONS, -1)
        query, keys, values = (part.unflatten(-1, (frozen.num_heads, -1)).transpose(1, 2) for part in parts)
        mask = None if attn_mask is None else attn_mask.to(packed.dtype)
        if mask is not None and mask.ndim == 3:
            mask = mask.unflatten(0, (len(x), frozen.num_heads))
        mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return frozen.out_proj(mixed.transpose(1, 2).flatten(2)), None


@dataclass(frozen=True)
class AdaptedCLIP(Rebuildable):
    """A CLIP whose attention blocks have LoRA; features have gradients with respect to A and B.

    `model` has the towers, whose other tensors are frozen and shared. `adapters` are the LoRA of the blocks, those of
    the image tower first. `clip` is the model that they were made from.
    """

    model: Any  # a module of open_clip, which declares none of its parts
    adapters: tuple[LowRank, ...]
    clip: FrozenCLIP

    def arguments(self) -> dict[str, Any]:
        """The arguments that make the same towers, without what they learned."""
        length = len(self.model.positional_embedding) if hasattr(self.model, "positional_embedding") else None
        return {"clip": self.clip, "options": self.adapters[0].options, "length": length}

    @classmethod
    def remade(cls, **arguments: Any) -> AdaptedCLIP:
        """The towers that `arguments` make. Their adapters have to be loaded."""
        clip, options, length = (arguments[name] for name in ("clip", "options", "length"))
        towers = add_lora(clip, options, torch.Generator())
        if length is not None and length < len(towers.model.positional_embedding):
            towers.cut_context(length)
        return towers

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw features (B, D) float32."""
        with self.clip.autocast():
            return self.model.encode_image(pixels, normalize=False).float()

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Token ids (P, L) int64 to raw features (P, D) float32."""
        with self.clip.autocast(self.clip.text_precision):
            return torch.cat([self.model.encode_text(part, normalize=False) for part in tokens.split(TEXTS)]).float()

    def shorten_context(self, tokens: Tensor) -> Tensor:
        """Cut token ids, and the text tower, after the last end of text. Features stay the same and cost less.

        A feature is read at the end of the text, and under a causal mask later tokens do not affect it. Towers that
        work otherwise are not changed.
        """
        model = self.model
        if getattr(model, "text_pool_type", "") != "argmax" or getattr(model, "attn_mask", None) is None:
            return tokens
        length = int(text_ends(tokens).max()) + 1
        self.cut_context(length)
        return tokens[:, :length].contiguous()

    def cut_context(self, length: int) -> None:
        """Set the number of tokens that the text tower takes."""
        model = self.model
        model.positional_embedding = nn.Parameter(model.positional_embedding[:length], requires_grad=False)
        model.attn_mask = model.attn_mask[:length, :length]

    def save_memory(self) -> None:
        """Compute the text tower's blocks again in the backward pass, to save memory; gradients stay the same."""
        _transformer(self.model, "text").grad_checkpointing = True


def add_lora(clip: FrozenCLIP, options: LoRAOptions, generator: torch.Generator) -> AdaptedCLIP:
    """The model of `clip` with LoRA in every attention block of both towers; `clip` is not changed.

    Args:
        generator: the generator of A, on the CPU; it draws for the image tower first, block by block.

    Raises:
        ValueError: a tower is not one of open_clip's own transformers, or its attention is not a plain one.
    """
    model, adapters = _shell(clip.model), []
    for tower in ("image", "text"):
        for block in _transformer(model, tower).resblocks:
            attention = block.attn
            if type(attention) is not nn.MultiheadAttention or not attention.batch_first:
                raise ValueError(f"{clip.arch}: the attention of the {tower} tower is not a plain one. {ADVICE}")
            adapters.append(LowRank(attention.embed_dim, options, generator))
            block.attn = LoRAAttention(attention, adapters[-1])
    return AdaptedCLIP(model, tuple(adapters), clip)


def _shell(model: nn.Module) -> nn.Module:
    """A copy whose modules are new and whose tensors are those of `model`."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _transformer(model: nn.Module, tower: str) -> Transformer:
    """The stack of blocks of the `image` or `text` tower."""
    module = model.visual if tower == "image" else getattr(model, "text", model)
    transformer = getattr(module, "transformer", None)
    if not isinstance(transformer, Transformer):
        raise ValueError(f"The {tower} tower, {type(module).__name__}, is not a transformer of open_clip. {ADVICE}")
    return transformer
