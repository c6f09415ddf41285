"""What MixStyle and EFDMix share: they mix statistics of feature maps between images, in training, now and then."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["StyleMixer", "switched"]

MIXES = ("random", "crossdomain")


class StyleMixer(nn.Module):
    """Mixes statistics of each image's feature map with those of another image of the batch.

    In evaluation, when switched off, and with probability 1 - p, the input passes unchanged. Whether is drawn with
    Python's `random`, the weights and partners with torch.

    Args:
        p: probability that a batch is mixed.
        alpha: parameter of the Beta distribution of the weights, > 0.
        eps: added to variances.
        mix: `random` (partners from the whole batch) or `crossdomain` (the batch's halves are two domains, and
            partners come from the other half).

    Raises:
        ValueError: another value of `mix`.
    """

    def __init__(self, p: float = 0.5, alpha: float = 0.1, eps: float = 1e-6, mix: str = "random"):
        super().__init__()
        self.p = p
        self.beta = torch.distributions.Beta(alpha, alpha)
        self.eps = eps
        self.alpha = alpha
        self._activated = True
        self.update_mix_method(mix)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p}, alpha={self.alpha}, eps={self.eps}, mix={self.mix})"

    def set_activation_status(self, status: bool = True) -> None:
        """Switch mixing on or off."""
        self._activated = status

    def update_mix_method(self, mix: str = "random") -> None:
        """Choose where partners come from: `random` or `crossdomain`."""
        if mix not in MIXES:
            raise ValueError(f"mix is '{mix}'. Choose one of {', '.join(MIXES)}")
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (B, C, H, W) -> the same shape."""
        if not self.training or not self._activated or random.random() > self.p:
            return x
        weights = self.beta.sample((x.size(0), 1, 1, 1)).to(x)
        return self.mix_statistics(x, weights, self._partners(x))

    def mix_statistics(self, x: Tensor, weights: Tensor, partners: Tensor) -> Tensor:
        """Mix.

        Args:
            x: feature maps (B, C, H, W).
            weights: (B, 1, 1, 1), the share of an image's own statistics.
            partners: (B,), int64, the image that gives the rest.
        """
        raise NotImplementedError

    def _partners(self, x: Tensor) -> Tensor:
        count = x.size(0)
        if self.mix == "random":
            return torch.randperm(count, device=x.device)
        second, first = torch.arange(count - 1, -1, -1, device=x.device).chunk(2)
        return torch.cat([part[torch.randperm(len(part), device=x.device)] for part in (second, first)])


@contextmanager
def switched(model: nn.Module, kind: type[StyleMixer], status: bool, mix: str | None = None) -> Iterator[None]:
    """Switch all mixers of a kind in a model on or off for a block, and the other way afterwards."""
    mixers = [module for module in model.modules() if type(module) is kind]
    for mixer in mixers:
        if mix is not None:
            mixer.update_mix_method(mix)
        mixer.set_activation_status(status)
    try:
        yield
    finally:
        for mixer in mixers:
            mixer.set_activation_status(not status)
