"""Multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .build import HEAD_REGISTRY

__all__ = ["MLP", "mlp"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(inplace=True),
}


class MLP(nn.Module):
    """Linear layers, each with batch norm, activation and dropout as asked for.

    Args:
        in_features: width of the input.
        hidden_layers: width of each layer, at least one.
        activation: `relu` or `leaky_relu`.
        bn: normalise after each linear layer.
        dropout: probability; 0 for none.

    Attributes:
        out_features: width of the output, that of the last layer.

    Raises:
        ValueError: no layer, or an unknown activation.
    """

    def __init__(
        self,
        in_features: int = 2048,
        hidden_layers: int | Sequence[int] = (),
        activation: str = "relu",
        bn: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        widths = [hidden_layers] if isinstance(hidden_layers, int) else list(hidden_layers)
        if not widths:
            raise ValueError("HEAD.HIDDEN_LAYERS must name at least one layer's width, like [256]")
        if activation not in ACTIVATIONS:
            raise ValueError(f"HEAD.ACTIVATION is '{activation}'. Choose one of {', '.join(ACTIVATIONS)}")
        layers: list[nn.Module] = []
        for width in widths:
            layers.append(nn.Linear(in_features, width))
            if bn:
                layers.append(nn.BatchNorm1d(width))
            layers.append(ACTIVATIONS[activation]())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            in_features = width
        self.mlp = nn.Sequential(*layers)
        self.out_features = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_features) -> (B, out_features)."""
        return self.mlp(x)


@HEAD_REGISTRY.register()
def mlp(**kwargs: Any) -> MLP:
    """The head `mlp`; see `MLP`."""
    return MLP(**kwargs)
