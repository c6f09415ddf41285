"""`FewShotClassifier`: every method as a classifier of scikit-learn's kind, for programs and notebooks.

It makes the config of a run and has the trainer of a run learn from what is in memory. docs/classifier.md shows how to
use it.
"""

from simnl.classifier.estimator import FewShotClassifier

__all__ = ["FewShotClassifier"]
