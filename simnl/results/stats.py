"""Mean and confidence interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

CI_METHODS = {
    "t": "Student t, two-sided 95 %: t(0.975, n-1) s / sqrt(n), s with n-1",
    "normal": "CoOp's convention: 1.96 s / sqrt(n), s with n",
}
CI_HELP = "; ".join(f"{name}: {meaning}" for name, meaning in CI_METHODS.items()).replace("%", "%%")  # for argparse


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)


def interval(values: Sequence[float], method: str = "t") -> float | None:
    """Half width of the 95 % confidence interval of the mean, in the unit of the values; None for a single value."""
    if method not in CI_METHODS:
        raise ValueError(f"Unknown interval '{method}'. Choose one of {sorted(CI_METHODS)}.")
    n = len(values)
    if n < 2:
        return None
    centre = mean(values)
    squares = math.fsum((v - centre) ** 2 for v in values)
    if method == "normal":
        return 1.96 * math.sqrt(squares / n) / math.sqrt(n)
    from scipy.special import stdtrit  # the quantile of Student's t; a table without intervals needs no scipy

    return float(stdtrit(n - 1, 0.975)) * math.sqrt(squares / (n - 1)) / math.sqrt(n)
