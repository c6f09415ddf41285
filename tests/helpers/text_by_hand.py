"""The text tower of a small CLIP written out place by place in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def text_by_hand(clip, tower, context, name):
    """The unit text feature of one prompt, built place by place from the tower's own parts, in float64."""
    model = clip.model
    count = len(context)
    tokens = clip.tokenize([" ".join(["X"] * count) + f" {name}."])
    x = model.token_embedding(tokens)[0].detach().double()
    for m in range(count):
        x[1 + m] = context[m].double()
    state = {k: v.double() for k, v in model.state_dict().items()}
    x = x + state["positional_embedding"]
    for layer in range(len(model.transformer.resblocks)):
        x = block(
            x,
            {
                k.split(f"resblocks.{layer}.")[1]: v
                for k, v in state.items()
                if f"transformer.resblocks.{layer}." in k and not k.startswith("visual")
            },
            model.transformer.resblocks[layer].attn.num_heads,
        )
    x = F.layer_norm(x, x.shape[-1:], state["ln_final.weight"], state["ln_final.bias"])
    feature = x[tokens[0].argmax()] @ state["text_projection"]
    return feature / feature.norm()


def block(x, p, heads):
    """A pre-norm transformer block with causal attention, token by token."""
    width = x.shape[1]
    h = F.layer_norm(x, (width,), p["ln_1.weight"], p["ln_1.bias"])
    q, k, v = (h @ p["attn.in_proj_weight"].T + p["attn.in_proj_bias"]).split(width, dim=1)
    out = torch.zeros_like(x)
    for i in range(len(x)):
        for a in range(heads):
            part = slice(a * width // heads, (a + 1) * width // heads)
            scores = (k[: i + 1, part] @ q[i, part]) / (width // heads) ** 0.5
            out[i, part] = scores.softmax(0) @ v[: i + 1, part]
    x = x + out @ p["attn.out_proj.weight"].T + p["attn.out_proj.bias"]
    h = F.layer_norm(x, (width,), p["ln_2.weight"], p["ln_2.bias"])
    h = F.gelu(h @ p["mlp.c_fc.weight"].T + p["mlp.c_fc.bias"])
    return x + h @ p["mlp.c_proj.weight"].T + p["mlp.c_proj.bias"]
