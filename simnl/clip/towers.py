"""The towers of CLIP as functions of what a method changes in them: tokens at the inputs of blocks, and weights by
name.

open_clip's own modules do the work, one block after the other, so that tokens can be put between blocks.
`torch.func.functional_call` gives them other weights if a method learns some. Nothing is copied, wrapped or patched:
the frozen model, which all methods of a process share, does not change.

`simnl.clip.prompt_learning.TextTower` is the text tower, `ImageTower` here the image tower.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, Transformer, VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call

from simnl.clip.model import FrozenCLIP
from simnl.clip.recipe import Rebuildable

ADVICE = "Methods inside the towers are offered for open_clip's own transformers, such as ViT-B-16 and ViT-L-14."


@dataclass(frozen=True)
class Tokens:
    """Tokens that a method puts into a sequence.

    `values` are (n, W) for all rows, or (P, n, W) for each row. `place` is the position of the first token; a negative
    one counts from the end. With `insert` the tokens at this place move back; without it they are replaced.
    """

    values: Tensor
    place: int
    insert: bool = False

    @property
    def count(self) -> int:
        """n."""
        return self.values.shape[-2]

    def put(self, x: Tensor) -> Tensor:
        """Put the tokens into a sequence (P, L, W): the result is (P, L, W), or (P, L + n, W) if they are inserted."""
        start = self.place % x.shape[1]
        rest = start if self.insert else start + self.count
        values = self.values.to(x.dtype).expand(x.shape[0], -1, -1)
        return torch.cat([x[:, :start], values, x[:, rest:]], dim=1)

    def of_rows(self, rows: slice) -> Tokens:
        """The tokens of some of the rows."""
        return self if self.values.ndim == 2 else Tokens(self.values[rows], self.place, self.insert)


Weights = Mapping[str, Tensor]  # by their names in the tower, such as `transformer.resblocks.0.ln_1.weight`
Deep = Mapping[int, Tokens]  # number of a block, from 0 -> the tokens at its input
NOTHING: Mapping[Any, Any] = {}


class LearnedWeights(nn.Module):
    """Learned tensors that start as weights of a tower and have their names, also in the state dict.

    Args:
        start: the initial tensors by name; copies of them are learned.
    """

    def __init__(self, start: Mapping[str, Tensor]):
        super().__init__()
        for name, tensor in start.items():
            *path, leaf = name.split(".")
            module: nn.Module = self
            for part in path:
                if part not in dict(module.named_children()):
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(leaf, nn.Parameter(tensor.detach().float().clone()))

    def weights(self) -> dict[str, Tensor]:
        """The learned tensors by name."""
        return dict(self.named_parameters())


def called(module: nn.Module, prefix: str, weights: Weights, *args: Tensor, **kwargs: Tensor | None) -> Tensor:
    """Call a module of a tower on `args` with the changed weights whose names start with `prefix`, its own name."""
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    return functional_call(module, own, args, kwargs) if own else module(*args, **kwargs)


def run_blocks(
    transformer: Transformer, x: Tensor, tokens: Deep, weights: Weights = NOTHING, mask: Tensor | None = None
) -> Tensor:
    """Run a stack of blocks.

    Args:
        transformer: the transformer of a tower that `check_blocks` accepts.
        x: (P, L, W).
        tokens: tokens for the inputs of blocks.
        weights: changed weights of the tower.
        mask: a mask that is added to the logits of attention, (M, M), where M is at least the length with all tokens;
            or None.

    Returns:
        (P, L + number of tokens inserted, W).
    """
    for number, block in enumerate(transformer.resblocks):
        if number in tokens:
            x = tokens[number].put(x)
        part = None if mask is None else mask[: x.shape[1], : x.shape[1]]
        x = called(block, f"transformer.resblocks.{number}.", weights, x, attn_mask=part)
    return x


def check_blocks(clip: FrozenCLIP, tower: str, transformer: object) -> None:
    """Refuse a tower (`image` or `text`) whose blocks are not open_clip's plain ones.

    Raises:
        ValueError: the message says which tower it is, and what to choose.
    """
    plain = isinstance(transformer, Transformer) and all(map(_is_plain, transformer.resblocks))
    if not plain:
        raise ValueError(f"{clip.arch}: the {tower} tower is not a plain transformer. {ADVICE}")


def _is_plain(block: nn.Module) -> bool:
    attention = getattr(block, "attn", None)
    return (
        type(block) is ResidualAttentionBlock
        and isinstance(attention, nn.MultiheadAttention)
        and attention.batch_first
        and attention.in_proj_weight is not None
    )


def check_depth(clip: FrozenCLIP, tower: str, blocks: int, depth: int, key: str) -> None:
    """Refuse tokens for more blocks than a tower has.

    Raises:
        ValueError: the message has the tower, its number of blocks, and the config key to change.
    """
    if depth > blocks:
        raise ValueError(
            f"{key} is {depth}, but {clip.arch} allows at most {blocks} in its {tower} tower. Set it to {blocks} or "
            "less."
        )


class ImageTower(Rebuildable):
    """The frozen vision transformer as a function of pixels (B, 3, H, W), differentiable in tokens and weights.

    Raises:
        ValueError: the image tower is not a plain vision transformer of open_clip that is read at its class token.
    """

    def __init__(self, clip: FrozenCLIP):
        tower: Any = clip.model.visual
        known = type(tower) is VisionTransformer and tower.attn_pool is None and not tower.final_ln_after_pool
        if not known or tower.pool_type != "tok":
            raise ValueError(f"{clip.arch}: the image tower is not a plain vision transformer. {ADVICE}")
        check_blocks(clip, "image", tower.transformer)
        self.clip, self.module = clip, tower

    @property
    def width(self) -> int:
        """W, the width of its tokens."""
        return self.module.transformer.width

    @property
    def num_blocks(self) -> int:
        """The number of blocks."""
        return len(self.module.transformer.resblocks)

    def enter(self, pixels: Tensor, appended: Tensor | None = None, weights: Weights = NOTHING) -> Tensor:
        """The input of the first block, (B, L, W); arguments as in `hidden`. The caller sets the numerical type."""
        tower = self.module
        patches = tower.conv1(pixels).flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        x = torch.cat([first, patches], dim=1) + tower.positional_embedding.to(patches.dtype)
        if appended is not None:
            x = torch.cat([x, appended.to(x.dtype).expand(x.shape[0], -1, -1)], dim=1)
        return called(tower.ln_pre, "ln_pre.", weights, x)

    def hidden(
        self, pixels: Tensor, appended: Tensor | None = None, tokens: Deep = NOTHING, weights: Weights = NOTHING
    ) -> Tensor:
        """The result of the last norm for every token, the class token first.

        Args:
            pixels: normalised, (B, 3, H, W).
            appended: tokens (n, W) after the patches, without positions. The first norm applies to them as well.
            tokens: tokens for the inputs of blocks.
            weights: changed weights.

        Returns:
            (B, L, W), in the numerical type of the tower.
        """
        tower = self.module
        with self.clip.autocast():
            x = self.enter(pixels, appended, weights)
            x = run_blocks(tower.transformer, x, tokens, weights)
            return called(tower.ln_post, "ln_post.", weights, x)

    def encode(
        self, pixels: Tensor, appended: Tensor | None = None, tokens: Deep = NOTHING, weights: Weights = NOTHING
    ) -> Tensor:
        """Raw image features (B, D) float32. The arguments are those of `hidden`."""
        return self.project(self.hidden(pixels, appended, tokens, weights)[:, 0])

    def project(self, x: Tensor) -> Tensor:
        """Project normed tokens (B, W) to raw features (B, D) float32, with CLIP's own projection."""
        with self.clip.autocast():
            return (x @ self.module.proj).float()


def names_of(module: nn.Module, endings: Iterable[str]) -> list[str]:
    """Names of a tower's weights that end in one of `endings`, such as `ln_1.weight`; those of its blocks in order.

    If the text tower is the whole CLIP, the weights of the image tower are left out.
    """
    names = [name for name, _ in module.named_parameters() if not name.startswith("visual.")]
    return [name for name in names if name.endswith(tuple(endings))]
