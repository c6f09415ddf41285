"""ReHARK against the author's own code in float32, at fixed settings in the place of Optuna's, for every shot count."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.golden_next import NextGolden
from helpers.official import one_image
from simnl.fewshot.selection import percent_right
from trainers.proker import ProKeRHead
from trainers.rehark import TransductiveReHARKHead

NAMES = ["beta1", "beta2", "mix_k", "lmbda", "soft", "var_adj", "alpha_txt", "refine_w", "blend_img", "alpha", "power"]
PLAIN = dict(zip(NAMES, (2.0, 0.5, 1.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 1.0), strict=True))


@pytest.fixture(params=["bundled-4", *(f"shared-{shots}" for shots in (1, 2, 4, 16))])
def golden(request) -> NextGolden:
    return NextGolden(request.param, "rehark_K{shots}")


def rows(golden: NextGolden) -> tuple[torch.Tensor, torch.Tensor]:
    """Every view as a row; of 16 shots the first view alone, as the recorded run has it."""
    views = F.normalize(golden.shot_views()[: 1 if golden.shots == 16 else None], dim=-1)
    return views.flatten(0, 1), golden.labels.repeat(len(views))


def head_at(golden: NextGolden, setting: dict[str, float]) -> TransductiveReHARKHead:
    features, labels = rows(golden)
    text, sentences = golden.text("template"), golden.text("cupl")
    reference = golden.inputs["val"]
    return TransductiveReHARKHead(
        text=text, sentences=sentences, rows=features, labels=labels, reference=reference, **setting
    )


def percent(head: TransductiveReHARKHead, features: torch.Tensor, labels: torch.Tensor) -> float:
    return percent_right(head.transduce(features).argmax(1), labels)


def test_at_random_settings(golden):
    out, (val, y_val), (test, y_test) = golden.outputs, golden.split("val"), golden.split("test")
    settings = [dict(zip(NAMES, values, strict=True)) for values in out["rehark/params"].tolist()]
    for setting, theirs in zip(settings, out["rehark/val_acc"].tolist(), strict=True):
        assert percent(head_at(golden, setting), val, y_val) == pytest.approx(100 * theirs, abs=2 * one_image(y_val))
    best = head_at(golden, settings[int(out["rehark/best"])])
    golden.check(best.transduce(test), "rehark/test_logits", 1e-3)
    theirs = out["rehark/test_acc"].item()
    assert percent(best, test, y_test) == pytest.approx(theirs, abs=one_image(y_test))


def test_one_kernel_and_no_more(golden):
    head, (test, _), (val, y_val) = head_at(golden, PLAIN), golden.split("test"), golden.split("val")
    golden.check(head.transduce(test), "rehark_plain/test_logits", 1e-3)
    torch.testing.assert_close(head(test), head.transduce(test))  # no image looks at others
    theirs = 100 * golden.outputs["rehark_plain/val_acc"].item()
    assert percent(head, val, y_val) == pytest.approx(theirs, abs=2 * one_image(y_val))


def test_proker_is_the_special_case(golden):
    """Of the doubled rows, at twice the sharpness and half the ridge; the text is as long as the prior is heavy."""
    features, labels = rows(golden)
    text = PLAIN["alpha"] * golden.text("template")
    hparams = {"beta": 2 * PLAIN["beta1"], "lam": PLAIN["lmbda"] / 2, "alpha": 1.0}
    head = ProKeRHead(text=text, cache_keys=features, labels=labels, logit_scale=1.0, **hparams)
    test, _ = golden.split("test")
    torch.testing.assert_close(head(test), head_at(golden, PLAIN)(test), atol=1e-5, rtol=0)
    golden.check(head(test), "rehark_plain/test_logits", 1e-3)
