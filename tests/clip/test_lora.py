"""LoRA on attention: formulas against naive ones in float64, what is frozen, what is refused."""

from __future__ import annotations

import dataclasses

import open_clip
import pytest
import torch

from helpers import tiny_vit
from helpers.tiny_vit import PROMPTS, adapted, generator, random
from simnl.clip.lora import LoRAAttention, LoRAOptions, LowRank, add_lora


@pytest.mark.parametrize("causal", [True, False])
def test_one_block_equals_a_naive_evaluation(causal):
    width, heads, length, options = 8, 2, 5, LoRAOptions(rank=3, alpha=2.0, dropout=0.0)
    plain = torch.nn.MultiheadAttention(width, heads, batch_first=True).double()
    plain.in_proj_bias.data = random(3 * width, seed=1)
    lora = LowRank(width, options, generator()).double()
    lora.b.data = random(3, width, 3, seed=2)
    x = random(2, length, width, seed=3)
    mask = torch.full((length, length), float("-inf"), dtype=torch.float64).triu(1) if causal else None
    ours = LoRAAttention(plain, lora)(x, x, x, attn_mask=mask)[0]
    weight = plain.in_proj_weight.view(3, width, width)
    for n in range(2):
        q, k, v = (
            [
                weight[p] @ row + plain.in_proj_bias.view(3, width)[p] + 2.0 / 3**0.5 * lora.b[p] @ (lora.a[p] @ row)
                for row in x[n]
            ]
            for p in range(3)
        )
        for i in range(length):
            mixed = []
            for part in (slice(0, 4), slice(4, 8)):
                seen = range(i + 1) if causal else range(length)
                scores = torch.stack([q[i][part] @ k[j][part] / 4**0.5 for j in seen]).exp()
                mixed.append(sum(s / scores.sum() * v[j][part] for s, j in zip(scores, seen, strict=True)))
            wanted = plain.out_proj.weight @ torch.cat(mixed) + plain.out_proj.bias
            torch.testing.assert_close(ours[n, i], wanted)


def test_dropout_acts_on_the_input_of_the_change_only(monkeypatch):
    seen = []

    def every_other(x, p, training):
        mask = (torch.arange(x.shape[-1]) + len(seen)) % 2
        seen.append((p, training))
        return x * mask / (1 - p) if training else x

    monkeypatch.setattr("torch.nn.functional.dropout", every_other)
    lora = LowRank(6, LoRAOptions(dropout=0.5), generator()).double()
    lora.b.data = random(3, 6, 2, seed=2)
    x = random(4, 6, seed=3)
    got = lora(x).view(4, 3, 6)
    assert seen == [(0.5, True)] * 3  # a mask for each projection
    for p in range(3):
        dropped = 2 * x * ((torch.arange(6) + p) % 2)
        torch.testing.assert_close(got[:, p], dropped @ lora.a[p].T @ lora.b[p].T / 2**0.5)


@pytest.mark.parametrize(("arch", "rank", "count"), [("ViT-B-16", 2, 184_320), ("ViT-L-14", 4, 811_008)])
def test_parameters(arch, rank, count):
    """rank (in + out) per projection: 12 blocks of 768 and 12 of 512; 24 of 1024 and 12 of 768."""
    with torch.device("meta"):
        model = open_clip.CLIP(**open_clip.get_model_config(arch))
    towers = add_lora(dataclasses.replace(tiny_vit.load(), model=model), LoRAOptions(rank=rank), generator())
    assert sum(p.numel() for lora in towers.adapters for p in lora.parameters()) == count


def test_initial_values():
    lora = LowRank(64, LoRAOptions(rank=8), generator())
    assert not lora.b.any()
    bound = 64**-0.5  # Kaiming-uniform with a = sqrt 5: sqrt(6 / ((1 + 5) D))
    assert lora.a.abs().max() <= bound
    assert lora.a.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    first, again, other = (LowRank(64, LoRAOptions(), generator(seed)).a for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert LoRAOptions().scaling == pytest.approx(2**-0.5)


def test_the_towers_cost_no_memory():
    theirs = {name: t.data_ptr() for name, t in tiny_vit.load().model.named_parameters()}
    ours = {name.replace(".attention.", "."): t.data_ptr() for name, t in adapted().model.named_parameters()}
    assert theirs == {name: pointer for name, pointer in ours.items() if "lora" not in name}


def test_text_is_cut_where_nothing_is_lost():
    clip, towers = tiny_vit.load(), adapted(moved=True)
    for lora in towers.adapters:
        lora.eval()
    tokens = clip.tokenize(PROMPTS)
    whole = towers.encode_text(tokens)
    short = towers.shorten_context(tokens)
    assert short.shape == (4, 10)  # start, a photo of a very large cat ., end
    torch.testing.assert_close(towers.encode_text(short), whole, atol=1e-5, rtol=1e-5)
    assert clip.model.positional_embedding.shape[0] == 77
    assert clip.encode_text(tokens).shape == (4, tiny_vit.WIDTH)


@pytest.mark.parametrize(
    ("options", "word"), [({"rank": 0}, "RANK"), ({"alpha": 0.0}, "ALPHA"), ({"dropout": 1.0}, "DROPOUT")]
)
def test_wrong_options(options, word):
    with pytest.raises(ValueError, match=word):
        LoRAOptions(**options)


@pytest.mark.parametrize(
    ("vision", "text", "words"),
    [
        ({"layers": [1, 1, 1, 1], "width": 8, "patch_size": None}, {}, "image tower, ModifiedResNet"),
        ({}, {"qk_norm": True}, "text tower is not a plain one"),
    ],
)
def test_other_towers_are_refused(vision, text, words):
    config = tiny_vit.CONFIG
    changed = {"vision_cfg": {**config["vision_cfg"], **vision}, "text_cfg": {**config["text_cfg"], **text}}
    model = open_clip.CLIP(embed_dim=16, **changed)
    with pytest.raises(ValueError, match=words):
        add_lora(dataclasses.replace(tiny_vit.load(), model=model), LoRAOptions(), generator())


def test_text_towers_of_their_own_module():
    """As SigLIP-like models of open_clip have them (`CustomTextCLIP`)."""
    model = open_clip.CustomTextCLIP(**tiny_vit.CONFIG).requires_grad_(False).eval()
    towers = add_lora(dataclasses.replace(tiny_vit.load(), model=model), LoRAOptions(), generator())
    tokens = tiny_vit.load().tokenize(PROMPTS)
    assert towers.shorten_context(tokens) is tokens
    torch.testing.assert_close(towers.encode_text(tokens), model.encode_text(tokens), atol=1e-5, rtol=1e-5)
    towers.save_memory()
    towers.encode_text(tokens).sum().backward()
