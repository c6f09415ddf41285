"""Weights from a pooled feature map, as dynamic networks use them."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Attention"]


class Attention(nn.Module):
    """Pool over positions, two linear layers with ReLU between, softmax.

    Args:
        in_channels: channels of the feature map.
        out_features: number of weights.
        squeeze: width between the layers; None: a sixteenth of the channels.
        bias: whether the layers have one.

    Raises:
        ValueError: there would be no width between the layers.
    """

    def __init__(self, in_channels: int, out_features: int, squeeze: int | None = None, bias: bool = True):
        super().__init__()
        self.squeeze = squeeze or in_channels // 16
        if self.squeeze <= 0:
            raise ValueError(f"With {in_channels} channels give squeeze, the width between the layers")
        self.fc1 = nn.Linear(in_channels, self.squeeze, bias=bias)
        self.fc2 = nn.Linear(self.squeeze, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (B, C, H, W) -> weights (B, out_features), which sum to one."""
        return self.fc2(self.fc1(x.mean(dim=(2, 3))).relu()).softmax(dim=-1)
