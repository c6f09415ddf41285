"""On what a calibrator is fitted, and when none is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.logit_runs import drawn, make_run
from simnl.runs.calibration import calibrate
from simnl.runs.logits import read_logits


def run_of(folder, **changes):
    parts = {"test": drawn(1, 400, 3.0), "selection": drawn(2, 300, 3.0), "target/new": drawn(3, 50, 3.0)}
    return make_run(folder, parts, **changes)


def test_the_temperature_is_of_the_selection_images_alone(tmp_path):
    one = run_of(tmp_path / "a")
    found = calibrate(one, read_logits(one))
    assert 2.2 < found.temperature.value < 3.9
    assert (found.temperature.images, found.note) == (300, "")
    parts = {"test": drawn(77, 200, 9.0), "selection": drawn(2, 300, 3.0)}  # other test images: the same calibrator
    other = make_run(tmp_path / "b", parts)
    assert calibrate(other, read_logits(other)).temperature == found.temperature


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
@pytest.mark.parametrize("part", ["test", "target/new"])
def test_fitting_on_test_images_is_refused(tmp_path, kind, part):
    one = run_of(tmp_path)
    with pytest.raises(ValueError, match=f"may not be fitted on the part '{part}': the protocol fewshot-val"):
        calibrate(one, read_logits(one), kind, part)


def test_the_bound_of_oracle_test_says_what_it_is(tmp_path):
    one = run_of(tmp_path, protocol="oracle-test")
    assert calibrate(one, read_logits(one)).note == "fitted on test images"
    assert calibrate(one, read_logits(one), "temperature", "test").temperature.images == 400


def test_without_selection_images_nothing_is_fitted(tmp_path):
    one = make_run(tmp_path, {"test": drawn(1, 40)}, protocol="no-val")
    for kind in ("temperature", "isotonic"):
        found = calibrate(one, read_logits(one), kind)
        assert found.temperature.value == 1
        assert found.note == "not fitted, because the protocol no-val has no selection images"
        logits = read_logits(one).parts["test"][0]
        np.testing.assert_allclose(found.apply(logits), torch.tensor(logits).softmax(1).numpy())


def test_a_temperature_that_cannot_be_trusted_is_not_used(tmp_path):
    sure = 9.0 * torch.eye(5).repeat(4, 1)
    one = make_run(tmp_path / "right", {"test": drawn(1, 40), "selection": (sure, torch.arange(5).repeat(4))})
    assert "all of them are right" in calibrate(one, read_logits(one)).note
    mild = torch.zeros(20, 5)
    mild[:, 0] = torch.tensor([1.0] * 14 + [-1.0] * 6)
    mild[1::2] *= 6  # every other image is six times as sharp
    one = make_run(tmp_path / "few", {"test": drawn(1, 40), "selection": (mild, torch.zeros(20, dtype=torch.int64))})
    found = calibrate(one, read_logits(one))
    assert found.temperature.value == 1
    assert "two halves of the 20 images give temperatures of" in found.note


def test_unknown_kinds_are_told(tmp_path):
    one = run_of(tmp_path)
    with pytest.raises(ValueError, match="Choose one of temperature, isotonic, dac, none"):
        calibrate(one, read_logits(one), "vector")
