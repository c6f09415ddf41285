"""Single augmentations that torchvision does not have."""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import crop, resize

__all__ = ["Cutout", "GaussianNoise", "InstanceNormalization", "Random2DTranslation"]


class Random2DTranslation:
    """Resize to height x width; with probability `p`, resize to 9/8 of that and cut a random window out.

    The window is height x width. Draws with Python's `random`.
    """

    def __init__(
        self,
        height: int,
        width: int,
        p: float = 0.5,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    ):
        self.height = height
        self.width = width
        self.p = p
        self.interpolation = interpolation

    def __call__(self, img: Image.Image) -> Image.Image:
        """Apply to a PIL image."""
        if random.uniform(0, 1) > self.p:
            return resize(img, [self.height, self.width], self.interpolation)
        height, width = int(round(self.height * 1.125)), int(round(self.width * 1.125))
        img = resize(img, [height, width], self.interpolation)
        left = int(round(random.uniform(0, width - self.width)))
        top = int(round(random.uniform(0, height - self.height)))
        return crop(img, top, left, self.height, self.width)


class Cutout:
    """Set `n_holes` random squares of a `(C, H, W)` image to zero; squares may reach over the border.

    Draws with numpy. Source: DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552.
    """

    def __init__(self, n_holes: int = 1, length: int = 16):
        self.n_holes = n_holes
        self.length = length

    def __call__(self, img: Tensor) -> Tensor:
        """Apply to a `(C, H, W)` tensor; returns a new one."""
        height, width = img.shape[1:]
        mask = torch.ones(height, width, dtype=img.dtype)
        for _ in range(self.n_holes):
            y, x = np.random.randint(height), np.random.randint(width)
            top, bottom = np.clip([y - self.length // 2, y + self.length // 2], 0, height)
            left, right = np.clip([x - self.length // 2, x + self.length // 2], 0, width)
            mask[top:bottom, left:right] = 0
        return img * mask


class GaussianNoise:
    """With probability `p`, add noise of the given mean and standard deviation.

    Whether is drawn with Python's `random`, the noise with torch.
    """

    def __init__(self, mean: float = 0, std: float = 0.15, p: float = 0.5):
        self.mean = mean
        self.std = std
        self.p = p

    def __call__(self, img: Tensor) -> Tensor:
        """Apply to a tensor of any shape."""
        if random.uniform(0, 1) > self.p:
            return img
        return img + torch.randn(img.shape) * self.std + self.mean


class InstanceNormalization:
    """Give each channel of a `(C, H, W)` image zero mean and unit standard deviation (unbiased).

    `eps` is added to the deviation, so an even channel becomes zero.
    """

    def __init__(self, eps: float = 1e-8):
        self.eps = eps

    def __call__(self, img: Tensor) -> Tensor:
        """Apply to a `(C, H, W)` tensor."""
        mean = img.mean(dim=(1, 2), keepdim=True)
        std = img.std(dim=(1, 2), keepdim=True)
        return (img - mean) / (std + self.eps)
