"""The weights of the paper's tables: not here, OpenAI's by their scale, or others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from simnl.clip.fetching import WeightsUnavailable
from simnl.runs import weights_check


@pytest.mark.parametrize(
    ("scale", "state", "says"),
    [(100.0, "right", ""), (99.99998, "right", ""), (21.3, "not OpenAI's", "their logit scale is 21.30")],
)
def test_openai_weights_are_known_by_their_scale(monkeypatch, scale, state, says):
    asked = []

    def load(arch, weights, precision):
        asked.append((arch, weights, precision))
        return SimpleNamespace(logit_scale=scale, fingerprint="ab" * 32)

    monkeypatch.setattr(weights_check, "load_clip", load)
    report = weights_check.check_weights("rn50", "Tables A1 and A3")
    assert (report.state, report.right) == (state, state == "right")
    assert says in report.problem
    assert asked == [("RN50-quickgelu", "openai", "fp32")]
    assert "abababababab" in weights_check.render([report])


def test_weights_that_are_not_here_are_told(monkeypatch):
    def load(*_):
        raise WeightsUnavailable("Could not get the weights 'openai' of RN50-quickgelu: no network")

    monkeypatch.setattr(weights_check, "load_clip", load)
    reports = [weights_check.check_weights(name, tables) for name, tables in weights_check.PAPER.items()]
    assert [report.state for report in reports] == ["not here", "not here"]
    assert "rn50: Could not get the weights" in weights_check.render(reports)


def test_the_bundled_weights_load_as_a_run_loads_them():
    report = weights_check.check_weights("tiny", "shapes")
    assert report.state == "not OpenAI's"
    assert len(report.fingerprint) == 64
