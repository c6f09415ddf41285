"""The towers of the tiny ViT written out in float64, step by step, with places where a test changes something."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from helpers import tiny_vit

Edits = Mapping[int, Callable[[Tensor], Tensor]]  # block -> what happens to its input
STATE = {name: value.double() for name, value in tiny_vit.load().model.state_dict().items()}
HEADS = 2


def unit(x: Tensor) -> Tensor:
    return x / (x * x).sum(-1, keepdim=True).sqrt()


def norm(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / ((centred * centred).mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def block(x: Tensor, w: Mapping[str, Tensor], name: str, mask: Tensor | None) -> Tensor:
    """One residual attention block, head by head."""
    width = x.shape[-1]
    size, y = width // HEADS, norm(x, w, f"{name}.ln_1")
    packed = y @ w[f"{name}.attn.in_proj_weight"].T + w[f"{name}.attn.in_proj_bias"]
    heads = []
    for h in range(HEADS):
        q, k, v = (packed[..., part * width + h * size :][..., :size] for part in range(3))
        scores = q @ k.transpose(1, 2) / size**0.5
        heads.append((scores if mask is None else scores + mask).softmax(-1) @ v)
    x = x + torch.cat(heads, -1) @ w[f"{name}.attn.out_proj.weight"].T + w[f"{name}.attn.out_proj.bias"]
    y = norm(x, w, f"{name}.ln_2") @ w[f"{name}.mlp.c_fc.weight"].T + w[f"{name}.mlp.c_fc.bias"]
    y = y * (1 + torch.erf(y / 2**0.5)) / 2
    return x + y @ w[f"{name}.mlp.c_proj.weight"].T + w[f"{name}.mlp.c_proj.bias"]


def image_tokens(pixels: Tensor, appended: Tensor | None = None, at: Edits = {}, changed: Mapping = {}) -> Tensor:  # noqa: B006
    """Tokens after the last norm, (B, L, W); changed: other weights, by their names in the image tower."""
    w = {k.removeprefix("visual."): v for k, v in STATE.items() if k.startswith("visual.")} | dict(changed)
    kernel, grid = w["conv1.weight"], tiny_vit.SIZE // w["conv1.weight"].shape[-1]
    side, pixels = kernel.shape[-1], pixels.double()
    patches = [
        (pixels[:, None, :, i * side :, j * side :][..., :side, :side] * kernel).sum((2, 3, 4))
        for i in range(grid)
        for j in range(grid)
    ]
    x = torch.stack([w["class_embedding"].expand(len(pixels), -1), *patches], 1) + w["positional_embedding"]
    if appended is not None:
        x = torch.cat([x, appended.expand(len(x), -1, -1)], 1)
    x = norm(x, w, "ln_pre")
    for number in range(2):
        x = block(at.get(number, lambda t: t)(x), w, f"transformer.resblocks.{number}", None)
    return norm(x, w, "ln_post")


def image_features(*args, **kwargs) -> Tensor:
    """Raw features (B, D)."""
    return image_tokens(*args, **kwargs)[:, 0] @ STATE["visual.proj"]


def text_features(texts: list[str], context: Tensor | None = None, at: Edits = {}, changed: Mapping = {}) -> Tensor:  # noqa: B006
    """Raw features (P, D) of all 77 places; context: in the places from 1 on; inserted tokens move the end."""
    w, tokens = STATE | dict(changed), tiny_vit.load().tokenize(texts)
    rows = []
    for ids in tokens:
        x = w["token_embedding.weight"][ids]
        if context is not None:
            x = torch.cat([x[:1], context, x[1 + len(context) :]])
        x = (x + w["positional_embedding"])[None]
        for number in range(2):
            x = at.get(number, lambda t: t)(x)
            mask = torch.full((x.shape[1], x.shape[1]), float("-inf"), dtype=torch.float64).triu(1)
            x = block(x, w, f"transformer.resblocks.{number}", mask)
        end = int(ids.argmax()) + x.shape[1] - len(ids)
        rows.append(norm(x, w, "ln_final")[0, end] @ w["text_projection"])
    return torch.stack(rows)


def replace_first(tokens: Tensor) -> Callable[[Tensor], Tensor]:
    """Tokens 1 .. n become others."""
    return lambda x: torch.cat([x[:, :1], tokens.expand(len(x), -1, -1), x[:, 1 + tokens.shape[-2] :]], 1)


def replace_last(tokens: Tensor) -> Callable[[Tensor], Tensor]:
    """The last n tokens become others."""
    return lambda x: torch.cat([x[:, : -len(tokens)], tokens.expand(len(x), -1, -1)], 1)


def insert_first(tokens: Tensor) -> Callable[[Tensor], Tensor]:
    """Tokens are put behind the first one."""
    return lambda x: torch.cat([x[:, :1], tokens.expand(len(x), -1, -1), x[:, 1:]], 1)
