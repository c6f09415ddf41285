"""The text projection and what enters it: their product is the tower's output, and the frozen model stays as it is."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import nn

from helpers.stores import plain, store_at
from simnl.clip.model import FrozenCLIP, fingerprint, load_clip
from simnl.clip.projection import before_projection, unprojected_texts

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
    text = clip.model.encode_text  # what takes its place is not the product any more
    clip.model.encode_text = lambda tokens, normalize: nn.functional.normalize(text(tokens), dim=-1)
    with pytest.raises(ValueError, match="custom does not end in a projection matrix"):
        unprojected_texts(clip, PROMPTS)


def check_images(clip: FrozenCLIP, size: int) -> None:
    before, hidden = fingerprint(clip.model.state_dict()), before_projection(clip)
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    features, p = hidden.encode_image(pixels), hidden.image_projection
    assert features.shape == (3, hidden.image_dim) == (3, len(p.weight))
    assert p.weight.shape[1] == clip.embed_dim == hidden.embed_dim == clip.image_dim
    torch.testing.assert_close(features @ p.weight + p.bias, clip.encode_image(pixels), atol=1e-4, rtol=1e-4)
    tokens = clip.tokenize(PROMPTS)
    assert torch.equal(hidden.encode_text(tokens), clip.encode_text(tokens))
    assert not features.requires_grad
    p.weight.add_(1.0)
    p.bias.add_(1.0)
    assert fingerprint(clip.model.state_dict()) == before


def test_image_towers(random_clip):
    check_images(random_clip, 32)


def test_the_bundled_image_tower():
    check_images(load_clip("tiny-clip", "bundled"), 48)


def test_what_the_resnet_gives_is_its_pool_without_the_output_projection(clip_checkpoints):
    """Written out: the query is the mean over positions, with keys and values from mean and positions."""
    clip = load_clip("test-resnet", str(clip_checkpoints["test-resnet"]))
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    taken: list[torch.Tensor] = []
    hook = clip.model.visual.attnpool.register_forward_hook(lambda module, inputs, output: taken.append(inputs[0]))
    features = before_projection(clip).encode_image(pixels).double()
    hook.remove()
    pool = clip.model.visual.attnpool
    state = {name: tensor.double() for name, tensor in pool.state_dict().items()}
    for image, feature in zip(taken[0].double(), features, strict=True):
        rows = image.flatten(1).T
        rows = torch.cat([rows.mean(0, keepdim=True), rows]) + state["positional_embedding"]
        q, k, v = (rows @ state[f"{n}_proj.weight"].T + state[f"{n}_proj.bias"] for n in "qkv")
        width, parts = len(feature) // pool.num_heads, []
        for head in range(pool.num_heads):
            part = slice(head * width, (head + 1) * width)
            parts.append((k[:, part] @ q[0, part] / width**0.5).softmax(0) @ v[:, part])
        torch.testing.assert_close(feature, torch.cat(parts), atol=1e-4, rtol=1e-4)


def test_the_store_keeps_them_as_entries_of_their_own(random_clip, image_files, tmp_path):
    hidden, spec = before_projection(random_clip), plain(random_clip)
    whole = store_at(tmp_path, random_clip).images(image_files, spec)
    store = store_at(tmp_path, hidden)
    features, p = store.images(image_files, spec), hidden.image_projection
    assert store.encoded_images == len(image_files)
    assert features.shape == (1, len(image_files), hidden.image_dim)
    torch.testing.assert_close(features @ p.weight + p.bias, whole, atol=1e-4, rtol=1e-4)
    assert len(list((tmp_path / "features").glob("image-*.sqlite"))) == 2
    assert torch.equal(store_at(tmp_path, hidden).images(image_files, spec), features)
    assert torch.equal(store_at(tmp_path, random_clip).images(image_files, spec), whole)
    store_at(tmp_path, random_clip).texts(PROMPTS)
    store.texts(PROMPTS)
    assert len(list((tmp_path / "features").glob("text-*.sqlite"))) == 1  # texts are the same


def test_a_hidden_row_is_the_same_bits_whatever_else_is_encoded(random_clip):
    hidden = before_projection(random_clip)
    pixels = torch.randn(50, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows = hidden.image_rows(pixels)
    assert torch.equal(hidden.image_rows(pixels[7:8]), rows[7:8])
    assert torch.equal(hidden.image_rows(pixels.flip(0)), rows.flip(0))


def test_image_towers_of_other_kinds_are_refused():
    clip = custom_clip()
    clip.model.visual = nn.Flatten()
    with pytest.raises(ValueError, match="does not end in a projection matrix"):
        before_projection(clip)
