"""The text projection and what enters it: their product is the tower's output, and the frozen model stays as it is."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import nn

from simnl.clip.model import FrozenCLIP, fingerprint, load_clip
from simnl.clip.projection import unprojected_texts

PROMPTS = ["a photo of a disc.", "itap of a ring.", "a bad photo of a star."]


def check(clip: FrozenCLIP, width: int) -> None:
    before = fingerprint(clip.model.state_dict())
    hidden, projection = unprojected_texts(clip, PROMPTS)
    assert (tuple(hidden.shape), tuple(projection.shape)) == ((3, width), (width, clip.embed_dim))
    torch.testing.assert_close(hidden @ projection, clip.encode_text(clip.tokenize(PROMPTS)), atol=1e-4, rtol=1e-4)
    assert not hidden.requires_grad
    assert not projection.requires_grad
    projection.add_(1.0)
    assert fingerprint(clip.model.state_dict()) == before


def test_openclips_own_towers(random_clip):
    check(random_clip, 32)


def test_the_bundled_model():
    check(load_clip("tiny-clip", "bundled"), 64)


def custom_clip(**text) -> FrozenCLIP:
    """A CLIP with a text tower of its own."""
    tower = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1, **text}
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    model = open_clip.model.CustomTextCLIP(16, vision, tower).eval().requires_grad_(False)
    clip = FrozenCLIP(
        model=model,
        arch="custom",
        weights="random",
        precision="fp32",
        device=torch.device("cpu"),
        fingerprint="",
        preprocess={},
        logit_scale=100.0,
        logit_bias=0.0,
        embed_dim=16,
        context_length=77,
    )
    clip.__dict__["_tokenizer"] = open_clip.get_tokenizer("ViT-B-32")  # none is known by the name `custom`
    return clip


def test_custom_text_towers():
    check(custom_clip(), 32)


def test_a_tower_that_ends_otherwise_is_refused():
    for text in ({"proj_type": "none", "width": 16}, {"proj_bias": True}):
        with pytest.raises(ValueError, match="custom does not end in a projection matrix"):
            unprojected_texts(custom_clip(**text), PROMPTS)
    clip = custom_clip()
    text = clip.model.encode_text
    clip.model.encode_text = lambda tokens: nn.functional.normalize(text(tokens), dim=-1)  # not the product any more
    with pytest.raises(ValueError, match="custom does not end in a projection matrix"):
        unprojected_texts(clip, PROMPTS)
