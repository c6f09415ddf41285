"""Running averages of the figures of a training loop."""

from __future__ import annotations

from collections import defaultdict

import torch

__all__ = ["AverageMeter", "MetricMeter"]


class AverageMeter:
    """Last value and average of a series.

    Args:
        ema: average exponentially, `avg = 0.9 * avg + 0.1 * value` from 0, instead of taking the mean.

    Attributes:
        val: the last value; avg: the average; sum: the weighted sum; count: the sum of the weights.
    """

    def __init__(self, ema: bool = False):
        self.ema = ema
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.val: float = 0
        self.avg: float = 0
        self.sum: float = 0
        self.count: int = 0

    def update(self, val: float | torch.Tensor, n: int = 1) -> None:
        """Add `val`, a number or a one-element tensor, with weight `n`."""
        if isinstance(val, torch.Tensor):
            val = val.item()
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.avg * 0.9 + val * 0.1 if self.ema else self.sum / self.count


class MetricMeter:
    """Named `AverageMeter`s; `str()` gives `loss 1.2345 (1.3000) acc 75.0000 (62.5000)`.

    Example::

        meter = MetricMeter()
        meter.update({"loss": loss, "acc": acc})
        print(meter)
    """

    def __init__(self, delimiter: str = " "):
        self.meters: defaultdict[str, AverageMeter] = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict: dict[str, float | torch.Tensor] | None) -> None:
        """Add one value per name; None adds nothing.

        Raises:
            TypeError: `input_dict` is something else.
        """
        if input_dict is None:
            return
        if not isinstance(input_dict, dict):
            raise TypeError(
                f"MetricMeter.update needs a dict of name -> number (what forward_backward returns), "
                f"not {type(input_dict).__name__}"
            )
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return self.delimiter.join(f"{name} {m.val:.4f} ({m.avg:.4f})" for name, m in self.meters.items())
