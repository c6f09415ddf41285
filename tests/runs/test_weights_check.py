"""The weights of the paper's tables: not here, OpenAI's by their scale, or others."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from simnl.clip.model import WeightsUnavailable
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


@pytest.mark.parametrize(("content", "right"), [(b"as published", True), (b"as publishes", False)])
def test_a_file_of_openais_name_has_openais_content(monkeypatch, tmp_path, content, right):
    published = hashlib.sha256(b"as published").hexdigest()
    monkeypatch.setattr(
        weights_check.open_clip, "get_pretrained_url", lambda arch, tag: f"https://x/{published}/RN50.pt"
    )
    monkeypatch.setattr(
        weights_check, "load_clip", lambda *_: SimpleNamespace(logit_scale=100.0, fingerprint="ab" * 32)
    )
    (tmp_path / "RN50.pt").write_bytes(content)
    file = str(tmp_path / "RN50.pt")
    report = weights_check.check_weights("rn50", "Table A1", file)
    assert (report.right, report.state) == (right, "right" if right else "not OpenAI's")
    digest = hashlib.sha256(content).hexdigest()
    says = f"{file} begins with {digest[:12]}, and that of OpenAI's RN50.pt with {published[:12]}"
    assert (says in weights_check.render([report])) is not right


def test_the_addresses_of_openais_files_have_their_check_sums():
    assert weights_check.files_for(["/w/ViT-B-32.pt"]) == {"rn50": "", "vit_b32": "/w/ViT-B-32.pt"}
    with pytest.raises(ValueError, match=r"/w/RN101.pt has none of the names .*: RN50.pt, ViT-B-32.pt\."):
        weights_check.files_for(["/w/RN50.pt", "/w/RN101.pt"])
    assert weights_check._published("RN50-quickgelu")[0].startswith("afeb0e10f9e5")
    assert weights_check._published("ViT-B-32-quickgelu")[0].startswith("40d365715913")


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
