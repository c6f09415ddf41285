"""Mix means and standard deviations of feature maps between images.

Source: Zhou et al., "Domain Generalization with MixStyle", ICLR 2021, https://arxiv.org/abs/2104.02008.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import Tensor, nn

from ._style import StyleMixer, switched

__all__ = [
    "MixStyle",
    "activate_mixstyle",
    "crossdomain_mixstyle",
    "deactivate_mixstyle",
    "random_mixstyle",
    "run_with_mixstyle",
    "run_without_mixstyle",
]


class MixStyle(StyleMixer):
    """`sigma_mix * (x - mu) / sigma + mu_mix`, where mu and sigma are taken per image and channel.

    `mu_mix = w mu + (1 - w) mu'` with the partner's `mu'`, and likewise for sigma. No gradient flows through the
    statistics. The arguments are those of `StyleMixer`.
    """

    def mix_statistics(self, x: Tensor, weights: Tensor, partners: Tensor) -> Tensor:
        """See `StyleMixer.mix_statistics`."""
        mean = x.mean(dim=(2, 3), keepdim=True).detach()
        std = (x.var(dim=(2, 3), keepdim=True) + self.eps).sqrt().detach()
        mixed_mean = weights * mean + (1 - weights) * mean[partners]
        mixed_std = weights * std + (1 - weights) * std[partners]
        return (x - mean) / std * mixed_std + mixed_mean


def deactivate_mixstyle(m: nn.Module) -> None:
    """Switch a module off if it is a MixStyle; for `model.apply`."""
    if type(m) is MixStyle:
        m.set_activation_status(False)


def activate_mixstyle(m: nn.Module) -> None:
    """Switch a module on if it is a MixStyle; for `model.apply`."""
    if type(m) is MixStyle:
        m.set_activation_status(True)


def random_mixstyle(m: nn.Module) -> None:
    """Let a MixStyle take partners from the whole batch; for `model.apply`."""
    if type(m) is MixStyle:
        m.update_mix_method("random")


def crossdomain_mixstyle(m: nn.Module) -> None:
    """Let a MixStyle take partners from the other half of the batch; for `model.apply`."""
    if type(m) is MixStyle:
        m.update_mix_method("crossdomain")


def run_without_mixstyle(model: nn.Module) -> AbstractContextManager[None]:
    """A block in which every MixStyle of the model is off; it is on afterwards."""
    return switched(model, MixStyle, False)


def run_with_mixstyle(model: nn.Module, mix: str | None = None) -> AbstractContextManager[None]:
    """A block in which every MixStyle of the model is on, with partners as `mix` says; it is off afterwards."""
    return switched(model, MixStyle, True, mix)
