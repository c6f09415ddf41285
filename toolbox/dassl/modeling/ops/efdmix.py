"""Mix the whole distribution of values in feature maps between images.

Source: Zhang et al., "Exact Feature Distribution Matching for Arbitrary Style Transfer and Domain Generalization",
CVPR 2022, https://arxiv.org/abs/2203.07740.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ._style import StyleMixer, switched

__all__ = [
    "EFDMix",
    "activate_efdmix",
    "crossdomain_efdmix",
    "deactivate_efdmix",
    "random_efdmix",
    "run_with_efdmix",
    "run_without_efdmix",
]


class EFDMix(StyleMixer):
    """`x + (1 - w) (x' - x)`, where `x'` has the partner's values in the order of x: the r-th smallest for the r-th.

    Per image and channel. The subtracted x has no gradient, so that of the result with respect to x is one. The
    arguments are those of `StyleMixer`.
    """

    def mix_statistics(self, x: Tensor, weights: Tensor, partners: Tensor) -> Tensor:
        """See `StyleMixer.mix_statistics`."""
        flat = x.flatten(2)  # (B, C, H W)
        values, order = flat.sort(dim=-1)
        ranks = torch.argsort(order, dim=-1)
        matched = values[partners].gather(-1, ranks)
        return (flat + (1 - weights.flatten(2)) * (matched - flat.detach())).view_as(x)


def deactivate_efdmix(m: nn.Module) -> None:
    """Switch a module off if it is a EFDMix; for `model.apply`."""
    if type(m) is EFDMix:
        m.set_activation_status(False)


def activate_efdmix(m: nn.Module) -> None:
    """Switch a module on if it is a EFDMix; for `model.apply`."""
    if type(m) is EFDMix:
        m.set_activation_status(True)


def random_efdmix(m: nn.Module) -> None:
    """Let a EFDMix take partners from the whole batch; for `model.apply`."""
    if type(m) is EFDMix:
        m.update_mix_method("random")


def crossdomain_efdmix(m: nn.Module) -> None:
    """Let a EFDMix take partners from the other half of the batch; for `model.apply`."""
    if type(m) is EFDMix:
        m.update_mix_method("crossdomain")


def run_without_efdmix(model: nn.Module) -> AbstractContextManager[None]:
    """A block in which every EFDMix of the model is off; it is on afterwards."""
    return switched(model, EFDMix, False)


def run_with_efdmix(model: nn.Module, mix: str | None = None) -> AbstractContextManager[None]:
    """A block in which every EFDMix of the model is on, with partners as `mix` says; it is off afterwards."""
    return switched(model, EFDMix, True, mix)
