"""Evaluator, metrics and meters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dassl.config import get_cfg_default
from dassl.evaluation import Classification, build_evaluator
from dassl.metrics import (
    compute_accuracy,
    compute_distance_matrix,
    cosine_distance,
    euclidean_squared_distance,
)
from dassl.utils import AverageMeter, MetricMeter

NAMES = {i: f"class_{i}" for i in range(4)}


def evaluate(golden, cfg, batch: int = 7):
    evaluator = build_evaluator(cfg, lab2cname=NAMES)
    for start in range(0, len(golden["gt"]), batch):
        pred = torch.tensor(golden["pred"][start : start + batch])
        evaluator.process(torch.eye(4)[pred], torch.tensor(golden["gt"][start : start + batch]))
    return evaluator.evaluate()


@pytest.mark.parametrize("key", ["evaluator", "evaluator_perclass"])
def test_evaluator_is_upstreams(engine_goldens, capsys, key):
    golden, cfg = engine_goldens[key], get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = key == "evaluator_perclass"
    results = evaluate(golden, cfg)
    assert list(results) == golden["order"]
    assert results == pytest.approx(golden["results"], rel=1e-14)
    assert all(type(value) is float for value in results.values())
    out = capsys.readouterr().out
    assert out == "Loading evaluator: Classification\n" + golden["stdout"]


def test_thousands_are_separated(capsys):
    evaluator = Classification(get_cfg_default())
    evaluator.process(torch.zeros(1234567, 1), torch.zeros(1234567, dtype=torch.int64))
    assert evaluator.evaluate()["accuracy"] == 100.0
    assert "* total: 1,234,567\n* correct: 1,234,567\n* accuracy: 100.0%\n" in capsys.readouterr().out


def test_the_first_of_equal_logits_counts():
    evaluator = Classification(get_cfg_default())
    evaluator.process(torch.tensor([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]), torch.tensor([1, 0]))
    assert evaluator.evaluate()["accuracy"] == 100.0


def test_reset_forgets():
    evaluator = Classification(get_cfg_default())
    evaluator.process(torch.eye(2), torch.tensor([1, 0]))
    evaluator.reset()
    evaluator.process(torch.eye(2), torch.tensor([0, 1]))
    assert evaluator.evaluate()["accuracy"] == 100.0
    evaluator.reset()
    with pytest.raises(ValueError, match="Nothing to evaluate"):
        evaluator.evaluate()


class Counting(Classification):
    """Counts by itself, in the ways of public plugins; its `reset` needs what its constructor makes."""

    def __init__(self, cfg, lab2cname=None, **kwargs):
        super().__init__(cfg, lab2cname, **kwargs)
        self.batches = []

    def reset(self):
        super().reset()
        self.batches.clear()

    def process(self, mo, gt):
        super().process(mo, gt)
        self._correct += 1  # an image that it knows to be right
        self._total += 2  # and one that it knows to be wrong
        self.batches.append(len(gt))


def test_a_subclass_that_counts(capsys):
    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    evaluator = Counting(cfg, lab2cname=NAMES)
    evaluator.reset()
    evaluator.process(torch.eye(4)[[0, 1, 1]], torch.tensor([0, 1, 2]))
    assert (evaluator._correct, evaluator._total) == (3, 5)
    assert (evaluator._y_true, evaluator._y_pred) == ([0, 1, 2], [0, 1, 1])
    assert {type(label) for label in evaluator._y_true + evaluator._y_pred} == {int}
    assert evaluator._per_class_res == {0: [1], 1: [1], 2: [0]}
    results = evaluator.evaluate()
    assert results["accuracy"] == pytest.approx(60)
    assert results["perclass_accuracy"] == pytest.approx(200 / 3)
    assert "* total: 5\n* correct: 3\n* accuracy: 60.0%" in capsys.readouterr().out
    evaluator.reset()
    assert (evaluator._correct, evaluator._total, evaluator._y_true, evaluator._per_class_res) == (0, 0, [], {})
    assert evaluator.batches == []


def test_without_figures_per_class_nothing_is_kept_for_them():
    evaluator = Classification(get_cfg_default(), lab2cname=NAMES)
    evaluator.process(torch.eye(2), torch.tensor([0, 1]))
    assert evaluator._per_class_res is None


def test_a_subclass_that_gathers_no_labels(capsys):
    class Bare(Classification):
        def process(self, mo, gt):
            self._correct += int((mo.argmax(1) == gt).sum())
            self._total += len(gt)

    evaluator = Bare(get_cfg_default())
    evaluator.process(torch.eye(2), torch.tensor([0, 0]))
    assert evaluator.evaluate() == {"accuracy": 50.0, "error_rate": 50.0}
    assert "macro_f1" not in capsys.readouterr().out


def test_a_subclass_that_adds_tensors_and_arrays():
    class Odd(Classification):
        def process(self, mo, gt):
            self._y_true.extend(gt.numpy())
            self._y_pred.extend(mo.argmax(1))
            self._total += len(gt)

    evaluator = Odd(get_cfg_default())
    evaluator.process(torch.eye(2), torch.tensor([0, 1]))
    assert evaluator.evaluate()["macro_f1"] == 100.0


def test_macro_f1_and_confusion_matrix_are_sklearns(tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR, cfg.TEST.COMPUTE_CMAT = str(tmp_path), True
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.integers(0, 6, 30)
        pred = np.where(rng.random(30) < 0.5, labels, rng.integers(0, 8, 30))  # predicts classes that do not occur
        evaluator = Classification(cfg)
        evaluator.process(torch.eye(8)[torch.from_numpy(pred)], torch.from_numpy(labels))
        f1 = metrics.f1_score(labels, pred, average="macro", labels=np.unique(labels))
        assert evaluator.evaluate()["macro_f1"] == pytest.approx(100 * f1)
        matrix = torch.load(tmp_path / "cmat.pt", weights_only=True).numpy()
        assert np.allclose(matrix, metrics.confusion_matrix(labels, pred, normalize="true"))


def test_per_class_needs_names_and_evaluators_a_name():
    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    with pytest.raises(ValueError, match="lab2cname"):
        Classification(cfg)
    cfg.TEST.EVALUATOR = "Clasification"
    with pytest.raises(ValueError, match=r"do you mean \[Classification\]"):
        build_evaluator(cfg)


def test_accuracy():
    logits = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], requires_grad=True)
    target = torch.tensor([0, 2, 0, 1])
    top1, top2 = compute_accuracy(logits, target, topk=(1, 2))
    assert (top1.shape, top1.item(), top2.item()) == ((1,), 25.0, 75.0)
    assert not top1.requires_grad
    assert compute_accuracy((logits, "features"), target)[0].item() == 25.0


def test_distances():
    a, b = torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    assert torch.allclose(euclidean_squared_distance(a, b), torch.cdist(a, b) ** 2)
    assert torch.equal(compute_distance_matrix(a, b), euclidean_squared_distance(a, b))
    cosine = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2)
    assert torch.allclose(cosine_distance(a, b), 1 - cosine)
    assert torch.equal(compute_distance_matrix(a, b, "cosine"), cosine_distance(a, b))
    for args, text in [((a, b, "l1"), "l1"), ((a, b[:, :2]), "3 and 2"), ((a[0], b), "two dimensions")]:
        with pytest.raises(ValueError, match=text):
            compute_distance_matrix(*args)


def test_meters(engine_goldens):
    meter = MetricMeter()
    meter.update({"loss": torch.tensor(1.2345), "acc": 50})
    meter.update(None)
    meter.update({"loss": 2.0, "acc": torch.tensor([75.0])})
    assert str(meter) == engine_goldens["meter_str"]
    assert meter.meters["acc"].avg == 62.5
    with pytest.raises(TypeError, match="dict.*list"):
        meter.update([1.0])


def test_average_meter():
    mean, ema = AverageMeter(), AverageMeter(ema=True)
    for value, weight in ((2.0, 1), (5.0, 3)):
        mean.update(value, weight)
        ema.update(value)
    assert (mean.val, mean.sum, mean.count, mean.avg) == (5.0, 17.0, 4, 4.25)
    assert ema.avg == pytest.approx(0.9 * 0.2 + 0.5)
    mean.reset()
    assert (mean.avg, mean.count) == (0, 0)
