"""Base class of backbones."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """Maps images to feature vectors. A subclass sets `_out_features`."""

    _out_features: int

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> features (B, out_features)."""
        raise NotImplementedError

    @property
    def out_features(self) -> int:
        """Number of features."""
        return self._out_features
