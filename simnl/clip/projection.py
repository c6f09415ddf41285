"""The last step of a tower: its projection into the space that images and texts share, and the input of this map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call

from simnl.clip.finite import check_rows
from simnl.clip.model import FrozenCLIP, ImageProjection

NAMES = ("text_projection", "text.text_projection", "text.proj")  # of CLIP, of custom text towers, of Hugging Face
TOLERANCE = 0.05  # relative; towers may compute in half precision


class _Tower(nn.Module):
    """`encode_text` of a model as the forward of a module, so that other weights can be used for one call."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens, normalize=False)


class _Unprojected(nn.Module):
    """The text tower with an identity in the place of its projection. The model itself is not changed."""

    def __init__(self, model: nn.Module, key: str, width: int):
        super().__init__()
        weight = dict(model.named_parameters())[key]
        self._tower, self._weights = _Tower(model), {f"model.{key}": torch.eye(width).to(weight)}

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        return functional_call(self._tower, self._weights, (tokens,))


def unprojected_texts(clip: FrozenCLIP, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The input of the projection of a text tower, and the projection. Raw text features are their product.

    Returns:
        Hidden features (P, H) of the prompts, and a copy of the projection, (H, D); float32, on the model's device.

    Raises:
        ValueError: the tower does not end in one matrix product (it has no projection, one with a bias, or an MLP), or
            gives numbers that are not finite.
    """
    key, projection = _projection(clip)
    hidden_tower = replace(clip, model=_Unprojected(clip.model, key, len(projection)))
    tokens = clip.tokenize(list(prompts))
    hidden = hidden_tower.text_rows(tokens)
    check_rows(hidden, clip, "text", prompts)
    wanted = clip.text_rows(tokens[:1])
    if (hidden[:1] @ projection - wanted).norm() > TOLERANCE * wanted.norm():
        raise ValueError(_refusal(clip))
    return hidden, projection


def _projection(clip: FrozenCLIP) -> tuple[str, Tensor]:
    """The parameter's name, and the matrix (H, D)."""
    parameters = dict(clip.model.named_parameters())
    for name in NAMES:
        if name in parameters:
            return name, parameters[name].detach().float().clone()
        if f"{name}.weight" in parameters and f"{name}.bias" not in parameters:
            return f"{name}.weight", parameters[f"{name}.weight"].detach().float().T.clone()
    raise ValueError(_refusal(clip))


def _refusal(clip: FrozenCLIP) -> str:
    return (
        f"The text tower of {clip.arch} does not end in a projection matrix, which the enhanced base would tune. "
        "Choose a backbone whose tower does, such as those of OpenAI (rn50, vit_b16, ...), or the regular base."
    )


class _ImageTower(nn.Module):
    """`encode_image` of a model as the forward of a module, so that other weights can be used for one call."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels, normalize=False)


class _UnprojectedImages(nn.Module):
    """A model with an identity in the place of its image tower's projection. The model itself is not changed."""

    def __init__(self, model: nn.Module, weights: dict[str, Tensor]):
        super().__init__()
        self._tower, self._weights = _ImageTower(model), {f"model.{name}": t for name, t in weights.items()}

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        return functional_call(self._tower, self._weights, (pixels,))

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        return self._tower.model.encode_text(tokens, normalize=False)


def before_projection(clip: FrozenCLIP) -> FrozenCLIP:
    """A model whose image features are the input of the image tower's last linear map. Text features do not change.

    In a vision transformer this input is the pooled token after the last layer norm. In CLIP's ResNet it is the result
    of the attention pool before its output projection. The product with an identity is exact, so the tower gives
    exactly these features.

    Returns:
        A model whose image features are (B, H), with the map that they lack as its `image_projection`.

    Raises:
        ValueError: the image tower is none of open_clip's two own kinds, or has no projection.
    """
    visual: Any = clip.model.visual
    if isinstance(visual, VisionTransformer) and isinstance(visual.proj, nn.Parameter):
        weight = visual.proj.detach()
        bias, names = weight.new_zeros(weight.shape[1]), {"visual.proj": torch.eye(len(weight)).to(weight)}
    elif isinstance(visual, ModifiedResNet):
        last = visual.attnpool.c_proj
        weight, bias = last.weight.detach().T, last.bias.detach()
        names = {
            "visual.attnpool.c_proj.weight": torch.eye(len(weight)).to(weight),
            "visual.attnpool.c_proj.bias": weight.new_zeros(len(weight)),
        }
    else:
        raise ValueError(
            f"The image tower of {clip.arch} does not end in a projection matrix of open_clip's own ViT or ResNet, and "
            "the method learns this matrix. Choose a backbone of OpenAI's kind (rn50, vit_b16, ...)."
        )
    projection = ImageProjection(weight.float().contiguous().clone(), bias.float().clone())
    return replace(clip, model=_UnprojectedImages(clip.model, names), image_projection=projection)
