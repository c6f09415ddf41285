"""Figures of reliability, and of known against unknown classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.logit_runs import drawn, make_run
from simnl.metrics.calibration import equal_width
from simnl.results.plots.drawing import save
from simnl.results.plots.of_runs import RUN_KINDS
from simnl.results.plots.series import Wanted
from simnl.runs.detection import SCORES
from simnl.sealed import write_tensors


@pytest.fixture
def run(tmp_path):
    one = make_run(tmp_path, {"test": drawn(1, 300, 3.0), "selection": drawn(2, 200, 3.0)})
    rng = np.random.default_rng(0)
    sides = {"known": 2.0, "new": 0.0, "$odd_name$": 1.0}
    tensors = {
        f"{name}/{score}": torch.from_numpy(rng.normal(mean, 1, 60)) for name, mean in sides.items()
        for score in ("energy", "msp")
    }  # fmt: skip
    tensors["known/energy"][0] = torch.inf
    identity = {key: one[key] for key in ("config_hash", "seed", "accuracy")}
    write_tensors(Path(tmp_path) / SCORES, tensors, {"chosen": "energy", **identity})
    return one


def only(figures: dict):
    ((title, figure),) = figures.items()
    return title, figure


def test_reliability_shows_what_is_measured(run, tmp_path):
    title, figure = only(RUN_KINDS["reliability"]([run]))
    assert "seed 1: reliability" in title
    before, after = figure.axes
    logits, labels = drawn(1, 300, 3.0)
    p = logits.double().softmax(1)
    bins = equal_width(p.max(1).values.numpy(), (p.argmax(1) == labels).numpy())
    line = before.lines[1]
    there = bins.counts > 0
    np.testing.assert_allclose(line.get_xdata(), bins.confidence[there])
    np.testing.assert_allclose(line.get_ydata(), bins.accuracy[there])
    assert "temperature" in after.get_title()
    assert save(figure, tmp_path / "reliability.png").stat().st_size > 1000


def test_reliability_without_a_temperature_says_why(tmp_path):
    one = make_run(tmp_path, {"test": drawn(1, 30)}, protocol="no-val")
    _, figure = only(RUN_KINDS["reliability"]([one]))
    assert len(figure.axes) == 1
    assert "has no selection images" in " ".join(figure.axes[0].get_title().split())


@pytest.mark.parametrize("kind", ["roc", "scores"])
def test_known_against_unknown(run, kind, tmp_path):
    title, figure = only(RUN_KINDS[kind]([run]))
    assert "energy" in title
    assert save(figure, tmp_path / f"{kind}.svg").stat().st_size > 1000
    title, _ = only(RUN_KINDS[kind]([run], Wanted(score="msp")))
    assert "msp" in title
    with pytest.raises(ValueError, match="no score 'mps'. Choose one of energy, msp"):
        RUN_KINDS[kind]([run], Wanted(score="mps"))


def test_a_curve_for_each_set(run):
    _, figure = only(RUN_KINDS["roc"]([run]))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(labels) == 2
    assert all("AUROC" in label for label in labels)


def test_a_run_without_scores_is_told(tmp_path):
    one = make_run(tmp_path, {"test": drawn(1, 30)})
    with pytest.raises(
        FileNotFoundError, match=r"outliers.safetensors is not there. Run the method's ood\.sh, which makes it"
    ):
        RUN_KINDS["roc"]([one])
