"""Small helpers of semi-supervised and adaptation methods."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "create_onehot",
    "ema_model_update",
    "linear_rampup",
    "reverse_index",
    "sharpen_prob",
    "shuffle_index",
    "sigmoid_rampup",
]


def sharpen_prob(p: Tensor, temperature: float = 2) -> Tensor:
    """Probabilities (B, C) to the power of `temperature`, normalised again; above 1 they get sharper."""
    powers = p.pow(temperature)
    return powers / powers.sum(1, keepdim=True)


def reverse_index(data: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Both (B, ...) in reverse order."""
    return data.flip(0), label.flip(0)


def shuffle_index(data: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Both (B, ...) in the same random order."""
    order = torch.randperm(len(data), device=data.device)
    return data[order], label[order.to(label.device)]


def create_onehot(label: Tensor, num_classes: int) -> Tensor:
    """Labels (B,), int64 -> float (B, num_classes) on the same device."""
    return F.one_hot(label, num_classes).float()


def sigmoid_rampup(current: float, rampup_length: float) -> float:
    """exp(-5 (1 - t)^2) with t = current / rampup_length, kept within [0, 1]; 1 if the length is 0."""
    if rampup_length <= 0:
        return 1.0
    return math.exp(-5 * (1 - min(max(current / rampup_length, 0.0), 1.0)) ** 2)


def linear_rampup(current: float, rampup_length: float) -> float:
    """current / rampup_length, kept within [0, 1]; 1 if the length is 0."""
    if rampup_length <= 0:
        return 1.0
    return min(max(current / rampup_length, 0.0), 1.0)


@torch.no_grad()
def ema_model_update(model: nn.Module, ema_model: nn.Module, alpha: float) -> None:
    """Set each parameter of `ema_model` to `alpha` times itself plus `1 - alpha` times that of `model`."""
    for average, parameter in zip(ema_model.parameters(), model.parameters(), strict=True):
        average.mul_(alpha).add_(parameter, alpha=1 - alpha)
