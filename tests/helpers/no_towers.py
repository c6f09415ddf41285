"""A second text tower of random numbers in a file of the form that CLIPN's authors save, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.clip.model import FrozenCLIP

OFFSETS = "prompt_no"


def marked(name: str) -> str:
    """The name of a tensor of the text tower in the second one."""
    part, dot, rest = name.partition(".")
    return f"{part}_no{dot}{rest}"


def text_state(clip: FrozenCLIP) -> dict[str, Tensor]:
    """The tensors of the text tower."""
    state = clip.whole.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(("visual.", "logit_"))}


def random_tower(clip: FrozenCLIP, seed: int = 0) -> dict[str, Tensor]:
    """A second tower near the model's own, with random offsets."""
    draw = torch.Generator().manual_seed(seed)
    own = text_state(clip)
    near = {marked(name): value + 0.02 * torch.randn(value.shape, generator=draw) for name, value in own.items()}
    return {**near, OFFSETS: 0.1 * torch.randn(16, *own["positional_embedding"].shape, generator=draw)}


def save_checkpoint(path: Path, clip: FrozenCLIP, tower: Mapping[str, Tensor]) -> Path:
    """A checkpoint of training: both text towers and the logit scale, below `state_dict` and `module.`."""
    whole = {**text_state(clip), "logit_scale": clip.whole.state_dict()["logit_scale"], **tower}
    torch.save({"epoch": 10, "state_dict": {f"module.{name}": value.clone() for name, value in whole.items()}}, path)
    return path


def says(tower: Mapping[str, Tensor], tokens: Tensor, heads: int) -> Tensor:
    """The raw feature (D,) of one text (L,), float64, written out token by token."""
    w = {name: value.double() for name, value in tower.items()}
    x = torch.stack(
        [
            w["token_embedding_no.weight"][token] + w["positional_embedding_no"][place] + w[OFFSETS][:, place].mean(0)
            for place, token in enumerate(tokens.tolist())
        ]
    )
    layer = 0
    while (name := f"transformer_no.resblocks.{layer}") + ".ln_1.weight" in w:
        x = x + _attended(_norm(x, w, f"{name}.ln_1"), w, f"{name}.attn", heads)
        hidden = _norm(x, w, f"{name}.ln_2") @ w[f"{name}.mlp.c_fc.weight"].T + w[f"{name}.mlp.c_fc.bias"]
        x = x + F.gelu(hidden) @ w[f"{name}.mlp.c_proj.weight"].T + w[f"{name}.mlp.c_proj.bias"]
        layer += 1
    return _norm(x, w, "ln_final_no")[int(tokens.argmax())] @ w["text_projection_no"]


def denying_text(tower: Mapping[str, Tensor], clip: FrozenCLIP, sentences: list[str], heads: int = 2) -> Tensor:
    """The sum of the unit features of sentences, at unit length, (D,) float64."""
    total = torch.zeros(clip.embed_dim, dtype=torch.float64)
    for tokens in clip.tokenize(sentences):
        feature = says(tower, tokens, heads)
        total += feature / feature.norm()
    return total / total.norm()


def _norm(x: Tensor, w: Mapping[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)


def _attended(x: Tensor, w: Mapping[str, Tensor], name: str, heads: int) -> Tensor:
    """Causal attention, one token and one head after the other."""
    q, k, v = (x @ w[f"{name}.in_proj_weight"].T + w[f"{name}.in_proj_bias"]).chunk(3, dim=-1)
    size, rows = q.shape[1] // heads, []
    for place in range(len(x)):
        parts = [slice(head * size, (head + 1) * size) for head in range(heads)]
        weights = [(k[: place + 1, part] @ q[place, part] / math.sqrt(size)).softmax(0) for part in parts]
        rows.append(torch.cat([one @ v[: place + 1, part] for one, part in zip(weights, parts, strict=True)]))
    return torch.stack(rows) @ w[f"{name}.out_proj.weight"].T + w[f"{name}.out_proj.bias"]
