"""Features of patches against towers written out, and the store entry that holds them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet

from helpers.images import make_images
from simnl.clip.model import load_clip
from simnl.clip.patches import _PatchesOfResNet, image_and_patches, with_patches
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec


def pixels(clip, count=3):
    size = clip.preprocess["size"]
    side = size[0] if isinstance(size, (tuple, list)) else size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("arch", "count"), [("tiny-clip", 1), ("tiny-vit", 36)])
def test_the_image_is_the_towers_own_and_patches_follow(arch, count):
    clip = load_clip(arch, "bundled")
    more = with_patches(clip)
    assert (more.patches, more.image_dim) == (count, (1 + count) * clip.embed_dim)
    x = pixels(clip)
    image, patches = image_and_patches(more.encode_image(x), clip.embed_dim)
    assert patches.shape == (3, count, clip.embed_dim)
    torch.testing.assert_close(image, clip.encode_image(x), atol=2e-3, rtol=2e-3)  # half precision
    tokens = clip.tokenize(["a photo of a cat."])
    assert torch.equal(more.encode_text(tokens), clip.encode_text(tokens))


def test_patches_of_a_vit_in_float64():
    """The last block without attention: each token keeps its value."""
    clip = load_clip("tiny-vit", "bundled")
    x = pixels(clip, 2)
    _, found = image_and_patches(with_patches(clip).encode_image(x), clip.embed_dim)
    w = {name: value.double() for name, value in clip.model.visual.state_dict().items()}
    heads = clip.model.visual.transformer.resblocks[0].attn.num_heads

    def norm(t, name):
        return F.layer_norm(t, t.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def linear(t, name, rows=slice(None), kind=""):
        return t @ w[f"{name}{kind}weight"][rows].T + w[f"{name}{kind}bias"][rows]

    for image, patches in zip(x.double(), found, strict=True):
        t = F.conv2d(image[None], w["conv1.weight"], stride=8)[0].flatten(1).T
        t = norm(torch.cat([w["class_embedding"][None], t]) + w["positional_embedding"], "ln_pre")
        width, blocks = t.shape[-1], len(clip.model.visual.transformer.resblocks)
        for number in range(blocks):
            name = f"transformer.resblocks.{number}"
            q, k, v = linear(norm(t, f"{name}.ln_1"), f"{name}.attn.in_proj_").split(width, dim=-1)
            if number < blocks - 1:
                parts = [part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in (q, k, v)]
                a = (parts[0] @ parts[1].mT / math.sqrt(width / heads)).softmax(-1)
                v = (a @ parts[2]).transpose(0, 1).flatten(1)
            t = t + linear(v, f"{name}.attn.out_proj", kind=".")
            hidden = linear(norm(t, f"{name}.ln_2"), f"{name}.mlp.c_fc", kind=".")
            hidden = F.gelu(hidden) if "GELU" in str(clip.model.visual.transformer.resblocks[0].mlp.gelu) else (
                hidden * torch.sigmoid(1.702 * hidden)
            )  # fmt: skip
            t = t + linear(hidden, f"{name}.mlp.c_proj", kind=".")
        naive = norm(t, "ln_post")[1:] @ w["proj"]
        torch.testing.assert_close(patches.double(), naive, atol=5e-3, rtol=5e-3)


def test_patches_of_a_resnet_in_float64():
    with torch.random.fork_rng(devices=[]):
        tower = ModifiedResNet((1, 1, 1, 1), output_dim=6, heads=2, image_size=96, width=2).eval()
    x, pool = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)), tower.attnpool
    with torch.no_grad():
        found, h = _PatchesOfResNet(tower)(x), x
        for module in (tower.stem, tower.layer1, tower.layer2, tower.layer3, tower.layer4):
            h = module(h)
        torch.testing.assert_close(found[:, 0], tower(x))
        assert found.shape == (2, 1 + 9, 6)
        for i, r, c in itertools.product(range(2), range(3), range(3)):
            value = pool.v_proj.weight.double() @ h[i, :, r, c].double() + pool.v_proj.bias
            naive = pool.c_proj.weight.double() @ value + pool.c_proj.bias
            torch.testing.assert_close(found[i, 1 + 3 * r + c].double(), naive, atol=1e-5, rtol=1e-5)


def test_the_store_keeps_them_in_half_precision_in_an_entry_of_their_own(tmp_path):
    make_images(tmp_path / "images", 5, size=48)
    paths = sorted(map(str, (tmp_path / "images").glob("*")))
    clip = load_clip("tiny-vit", "bundled")
    more = with_patches(clip)
    plain, store = (FeatureStore(tmp_path / "store", one, progress=False) for one in (clip, more))
    spec = ViewSpec.test(clip.preprocess)
    plain.images(paths, spec)
    first = store.images(paths, spec)
    assert store.encoded_images == 5
    again = FeatureStore(tmp_path / "store", more, progress=False)
    assert torch.equal(again.images(paths[::-1], spec), first.flip(1))
    assert again.encoded_images == 0
    sizes = {path.stat().st_size for path in (tmp_path / "store" / "features").glob("image-*.sqlite")}
    assert len(sizes) == 2
    assert max(sizes) < 5 * more.image_dim * 4  # less than single precision takes
