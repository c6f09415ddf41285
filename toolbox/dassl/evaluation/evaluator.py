"""Accuracy, macro F1, figures per class, and the confusion matrix."""

from __future__ import annotations

import os.path as osp
from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from dassl._lazy import lazy
from dassl.utils.errors import CheckError
from dassl.utils.tools import atomic_write

from .build import EVALUATOR_REGISTRY

# scikit-learn's, for plugins; the engine computes its own figures and does not need the package.
LAZY = {"f1_score": "sklearn.metrics:f1_score", "confusion_matrix": "sklearn.metrics:confusion_matrix"}
# Upstream's module has no `__all__`, and plugins import from it what it imports itself.
__all__ = [
    "EVALUATOR_REGISTRY",
    "Classification",
    "EvaluatorBase",
    "OrderedDict",
    "defaultdict",
    "np",
    "osp",
    "torch",
    *LAZY,
]

__getattr__ = lazy(__name__, LAZY)


class EvaluatorBase:
    """Interface: `reset`, `process` for each batch, `evaluate` at the end."""

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError

    def process(self, mo: Any, gt: Any) -> None:
        """Take in a batch: model output and ground truth."""
        raise NotImplementedError

    def evaluate(self) -> OrderedDict[str, float]:
        """Name -> figure; trainers compare and return the first."""
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Evaluator of classification.

    Subclasses may use the running counts, as upstream's do: `_correct` and `_total` (accuracy is their ratio), the
    lists of int `_y_true` and `_y_pred` (macro F1 and the confusion matrix), and `_per_class_res`, label -> list of 1
    (right) and 0 (wrong), which is None unless TEST.PER_CLASS_RESULT is set.

    Args:
        cfg: configuration; TEST.PER_CLASS_RESULT and TEST.COMPUTE_CMAT are read.
        lab2cname: label -> class name; needed for figures per class.

    Raises:
        CheckError: figures per class without `lab2cname`.
    """

    def __init__(self, cfg: CfgNode, lab2cname: dict[int, str] | None = None, **kwargs: Any):
        super().__init__(cfg)
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise CheckError("TEST.PER_CLASS_RESULT needs lab2cname, the names of the classes")
        self._lab2cname = lab2cname
        self._per_class_res: defaultdict[int, list[int]] | None = None
        if cfg.TEST.PER_CLASS_RESULT:
            self._per_class_res = defaultdict(list)
        # `self.reset()` may be a subclass's, whose constructor is not done.
        Classification.reset(self)

    def reset(self) -> None:
        """Forget all batches."""
        self._correct = 0
        self._total = 0
        self._y_true: list[int] = []
        self._y_pred: list[int] = []
        if self._per_class_res is not None:
            self._per_class_res = defaultdict(list)

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Take in a batch: logits (B, C) and labels (B,). Of equal maxima, the first class counts."""
        labels, predictions = gt.tolist(), mo.max(1)[1].tolist()
        hits = [int(label == prediction) for label, prediction in zip(labels, predictions, strict=True)]
        self._correct += sum(hits)
        self._total += len(hits)
        self._y_true += labels
        self._y_pred += predictions
        if self._per_class_res is not None:
            for label, hit in zip(labels, hits, strict=True):
                self._per_class_res[label].append(hit)

    def evaluate(self) -> OrderedDict[str, float]:
        """Print and return the figures, in percent.

        Returns:
            `accuracy`, `error_rate`, `macro_f1` (mean over the classes that occur in the labels; left out where a
            subclass gathered no labels), and, if configured, `perclass_accuracy` (mean over the same classes).

        Raises:
            CheckError: nothing was processed.
        """
        if not self._total:
            raise CheckError("Nothing to evaluate: the loader gave no batch")
        accuracy = 100.0 * self._correct / self._total
        results = OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy)
        lines = [
            "=> result",
            f"* total: {self._total:,}",
            f"* correct: {self._correct:,}",
            f"* accuracy: {accuracy:.1f}%",
            f"* error: {results['error_rate']:.1f}%",
        ]
        y_true, y_pred = np.array(self._y_true), np.array(self._y_pred)
        if len(y_true):
            results["macro_f1"] = 100.0 * _macro_f1(y_true, y_pred)
            lines.append(f"* macro_f1: {results['macro_f1']:.1f}%")
        print("\n".join(lines))
        if self._per_class_res:
            results["perclass_accuracy"] = self._evaluate_classes()
        if self.cfg.TEST.COMPUTE_CMAT and len(y_true):
            self._save_confusion_matrix(y_true, y_pred)
        return results

    def _evaluate_classes(self) -> float:
        print("=> per-class result")
        accuracies = []
        names = self._lab2cname or {}
        for label, hits in sorted((self._per_class_res or {}).items()):
            total, correct = len(hits), sum(hits)
            accuracies.append(100.0 * correct / total)
            print(
                f"* class: {label} ({_printable(names[label])})\t"
                f"total: {total:,}\tcorrect: {correct:,}\tacc: {accuracies[-1]:.1f}%"
            )
        average = float(np.mean(accuracies))
        print(f"* average: {average:.1f}%")
        return average

    def _save_confusion_matrix(self, y_true: np.ndarray, y_pred: np.ndarray) -> None:
        path = osp.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        with atomic_write(path) as file:
            torch.save(torch.from_numpy(_confusion_matrix(y_true, y_pred)), file)
        print(f"Confusion matrix is saved to {path}")


def _printable(name: str) -> str:
    """A class name in which a terminal finds nothing to obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _macro_f1(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean F1 over the classes that occur in `y_true`, in [0, 1]."""
    labels, codes = np.unique(np.concatenate([y_true, y_pred]), return_inverse=True)
    true, pred = codes[: len(y_true)], codes[len(y_true) :]
    positives, predicted, hits = (np.bincount(c, minlength=len(labels)) for c in (true, pred, true[true == pred]))
    occurring = positives > 0
    return float(np.mean(2.0 * hits[occurring] / (positives + predicted)[occurring]))


def _confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Share of predictions (column) per true class (row), float64; classes are those that occur, in order.

    The row of a class that is only ever predicted is zero.
    """
    labels, codes = np.unique(np.concatenate([y_true, y_pred]), return_inverse=True)
    true, pred = codes[: len(y_true)], codes[len(y_true) :]
    counts = np.bincount(true * len(labels) + pred, minlength=len(labels) ** 2).reshape(len(labels), -1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
