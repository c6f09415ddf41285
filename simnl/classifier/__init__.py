"""`FewShotClassifier`: every method as a classifier of scikit-learn's kind, for programs and notebooks.

It makes the config of a run and has the trainer of a run learn from what is in memory. docs/classifier.md shows how to
use it. The class is imported only when a program asks for it, so that the commands of this package show their help at
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simnl.classifier.estimator import FewShotClassifier

__all__ = ["FewShotClassifier"]


def __getattr__(name: str) -> Any:
    """The classifier."""
    if name == "FewShotClassifier":
        from simnl.classifier.estimator import FewShotClassifier

        return FewShotClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
