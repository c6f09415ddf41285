"""Features of patches beside those of whole images, from one pass of the frozen image tower.

    ViT      in the last block each token keeps its own value: x + out_proj(v_proj(ln_1(x))) replaces attention,
             then the block's MLP, the last norm and the projection; the class token is left out
    ResNet   v_proj, then c_proj, of the attention pool at each place of the last map, without pooling

So the features of a patch lie in the space of text features, as those of the image do. Source: Miyai et al., "GL-MCM:
Global and Local Maximum Concept Matching for Zero-Shot Out-of-Distribution Detection", arXiv:2304.04521.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from simnl.clip.model import FrozenCLIP
from simnl.clip.towers import ImageTower


class _PatchesOfViT(nn.Module):
    """Pixels to the features of an image and of its patches, (B, 1 + G, D)."""

    def __init__(self, clip: FrozenCLIP):
        super().__init__()
        self.tower = ImageTower(clip)

    def forward(self, pixels: Tensor) -> Tensor:
        tower = self.tower
        x = tower.enter(pixels)
        *first, last = tower.module.transformer.resblocks
        for block in first:
            x = block(x)
        attention, width = last.attn, x.shape[-1]
        values = F.linear(last.ln_1(x), attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
        local = x + last.ls_1(attention.out_proj(values))
        local = local + last.ls_2(last.mlp(last.ln_2(local)))
        tokens = torch.cat([last(x)[:, :1], local[:, 1:]], dim=1)
        return tower.module.ln_post(tokens) @ tower.module.proj


class _PatchesOfResNet(nn.Module):
    """Pixels to the features of an image and of its patches, (B, 1 + G, D)."""

    def __init__(self, tower: ModifiedResNet):
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        tower: Any = self.tower
        x = tower.stem(pixels)
        for layer in (tower.layer1, tower.layer2, tower.layer3, tower.layer4):
            x = layer(x)
        places = x.flatten(2).transpose(1, 2)
        local = tower.attnpool.c_proj(tower.attnpool.v_proj(places))
        return torch.cat([tower.attnpool(x)[:, None], local], dim=1)


class _WithPatches(nn.Module):
    """A model whose image features are followed by those of the patches; the model itself is not touched."""

    def __init__(self, model: Any, images: nn.Module):
        super().__init__()
        self._images, self.whole = images, model

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        # Rounded to halve the disk space; rounding here keeps stored features equal to those of the tower.
        return self._images(pixels).flatten(1).half()

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        return self.whole.encode_text(tokens, normalize=False)


def with_patches(clip: FrozenCLIP) -> FrozenCLIP:
    """The same model, whose image features are (B, (1 + G) D): the image's own, then those of its G patches.

    They are rounded to half precision. Texts stay as they are.

    Raises:
        ValueError: the image tower is neither open_clip's plain ViT nor CLIP's ResNet.
    """
    visual: Any = clip.model.visual
    images = _PatchesOfResNet(visual) if isinstance(visual, ModifiedResNet) else _PatchesOfViT(clip)
    side = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
    with torch.no_grad(), clip.autocast():
        count = images(torch.zeros(1, 3, side, side, device=clip.device)).shape[1] - 1
    return replace(clip, model=_WithPatches(clip.model, images), patches=count)


def image_and_patches(features: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Split rows (B, (1 + G) D) of `with_patches` into image features (B, D) and patch features (B, G, D). width: D."""
    return features[:, :width], features[:, width:].unflatten(1, (-1, width))
