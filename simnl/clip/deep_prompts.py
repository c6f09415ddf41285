"""Learned tokens in the towers: after the patches of an image, in the places of words, and again before later blocks.

At the input of block l = 1 .. J - 1, the tokens in these places are replaced by the learned tokens of block l. From
block J on, the outputs of the tokens are kept. J is the depth; a depth of 1 is called shallow.

Sources: Jia et al., "Visual Prompt Tuning", ECCV 2022, arXiv:2203.12119; Khattak et al., "MaPLe: Multi-modal Prompt
Learning", CVPR 2023, arXiv:2210.03117.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simnl.clip.prompt_learning import Sentences, TextTower
from simnl.clip.recipe import Rebuildable
from simnl.clip.text import readable
from simnl.clip.towers import Deep, ImageTower, Tokens, check_depth

SPREAD = 0.02  # standard deviation of random tokens
WORDS = "a photo of a"  # the initial words of a context with at most as many tokens


def random_tokens(count: int, width: int, generator: torch.Generator) -> nn.Parameter:
    """(n, W) ~ N(0, 0.02^2)."""
    return nn.Parameter(SPREAD * torch.randn(count, width, generator=generator))


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with PyTorch's default initial values, uniform within 1 / sqrt(inputs), from a generator."""
    linear = nn.Linear(inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return linear


def entering(tokens: Tensor, half: bool) -> Tensor:
    """Tokens as they enter a tower. With `half`, they and their gradients are rounded to half precision."""
    return tokens.half().float() if half else tokens


class TextPrompts(Rebuildable, nn.Module):
    """Learned tokens of the text tower: `context` (n, W), and `deep.<i>` (n, W) of block i + 1.

    A context of n <= 4 tokens starts from the first n tokens of "a photo of a", and the other words stay in the prompt
    "a photo of a {name}.". A longer context is random, in the prompt "X X ... X {name}.".

    Args:
        tower: the text tower.
        count: n; depth: J, 1 or more.
        generator: the generator of random initial values.
        rounded: True to round deep tokens to half precision where they enter the tower.

    Raises:
        ValueError: there are no tokens, or the depth exceeds the number of blocks of the tower.
    """

    def __init__(self, tower: TextTower, count: int, depth: int, generator: torch.Generator, rounded: bool = False):
        super().__init__()
        if count < 1 or depth < 1:
            raise ValueError(f"The text has {count} learned tokens to a depth of {depth}. Both must be 1 or more.")
        check_depth(tower.clip, "text", tower.num_blocks, depth, "The text depth")
        self.rounded = rounded
        self.words = WORDS if count <= len(WORDS.split()) else " ".join(["X"] * count)
        if self.words is WORDS:
            start = tower.embed(tower.clip.tokenize([WORDS]))[0, 1 : 1 + count]
            self.context = nn.Parameter(start.cpu().clone())
        else:
            self.context = random_tokens(count, tower.width, generator)
        self.deep = nn.ParameterList(random_tokens(count, tower.width, generator) for _ in range(depth - 1))

    def sentences(self, tower: TextTower, classnames: Sequence[str]) -> Sentences:
        """The prompts of class names (underscores read as spaces)."""
        return Sentences(tower, [f"{self.words} {readable(name)}." for name in classnames])

    def tokens(self) -> Deep:
        """The tokens of each block."""
        return {block: Tokens(entering(t, self.rounded), 1) for block, t in enumerate(self.deep, start=1)}

    def encode(self, sentences: Sentences, chunk: int = 0) -> Tensor:
        """Raw text features (P, D)."""
        return sentences.encode(self.context, chunk, self.tokens())


class VisionPrompts(Rebuildable, nn.Module):
    """Learned tokens of the image tower: `first` (n, W), and `deep.<i>` (n, W) of block i + 1.

    Args:
        tower: the image tower.
        count: n; depth: J, 1 or more.
        generator: the generator of the initial values.
        rounded: True to round the tokens to half precision where they enter the tower.

    Raises:
        ValueError: there are no tokens, or the depth exceeds the number of blocks of the tower.
    """

    def __init__(self, tower: ImageTower, count: int, depth: int, generator: torch.Generator, rounded: bool = False):
        super().__init__()
        if count < 1 or depth < 1:
            raise ValueError(f"The image has {count} learned tokens to a depth of {depth}. Both must be 1 or more.")
        check_depth(tower.clip, "image", tower.num_blocks, depth, "The vision depth")
        self.rounded = rounded
        self.first = random_tokens(count, tower.width, generator)
        self.deep = nn.ParameterList(random_tokens(count, tower.width, generator) for _ in range(depth - 1))

    def encode(self, tower: ImageTower, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw image features (B, D)."""
        return encode_with(tower, pixels, self.first, list(self.deep), self.rounded)


def encode_with(tower: ImageTower, pixels: Tensor, first: Tensor, deep: Sequence[Tensor], rounded: bool) -> Tensor:
    """Raw image features (B, D) with learned tokens after the patches.

    Args:
        tower: the image tower.
        pixels: normalised, (B, 3, H, W).
        first: the tokens at the input of the tower, (n, W); deep: those of blocks 1, 2, ..., (n, W) each.
        rounded: True to round tokens to half precision.
    """
    tokens = {block: Tokens(entering(t, rounded), -t.shape[0]) for block, t in enumerate(deep, start=1)}
    return tower.encode(pixels, entering(first, rounded), tokens)
