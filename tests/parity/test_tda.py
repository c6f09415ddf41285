"""TDA against the authors' own code in float32: the same stream of images in the same order."""

from __future__ import annotations

import pytest
import torch

from helpers.golden_next import NextGolden
from helpers.official import one_image
from simnl.fewshot.selection import percent_right
from trainers.tda import Cache, TDAHead, normalised_entropy

POSITIVE, NEGATIVE = Cache(3, 2.0, 5.0), Cache(2, 0.117, 1.0)
RUNS = {
    "imagenet": {},
    "eurosat": {"positive": Cache(3, 4.0, 8.0)},
    "pos_only": {"negative": Cache(2, 0.0, 1.0)},
    "neg_only": {"positive": Cache(3, 0.0, 5.0)},
    "strong_neg": {"negative": Cache(2, 2.0, 1.0), "possible": (0.1, 1.0)},
    "stored_order": {},
}


@pytest.fixture(params=["bundled-4", "shared-4"])
def golden(request) -> NextGolden:
    return NextGolden(request.param, "tda")


def make_head(golden: NextGolden, **options) -> TDAHead:
    settings = {"positive": POSITIVE, "negative": NEGATIVE, "doubtful": (0.2, 0.5), "possible": (0.03, 1.0)} | options
    return TDAHead(text=golden.text("template"), logit_scale=100.0, seed=1, **settings)


@pytest.mark.parametrize("name", RUNS)
def test_a_stream(golden, name):
    out, head, (test, y_test) = golden.outputs, make_head(golden, **RUNS[name]), golden.split("test")
    order = torch.arange(len(test)) if name == "stored_order" else golden.inputs["tda_order"].long()
    logits = head.stream(test[order])
    whole = f"tda_{name}/logits"
    if whole in out:
        golden.check(logits, whole, 1e-3)
    last = out.get(f"tda_{name}/logits_last200", logits[-200:])
    torch.testing.assert_close(logits[-len(last) :], last, atol=1e-3, rtol=0)
    theirs = out[f"tda_{name}/acc"].item()
    assert percent_right(logits.argmax(1), y_test[order]) == pytest.approx(theirs, abs=one_image(y_test))


@pytest.mark.parametrize("name", RUNS)
def test_what_the_caches_hold_at_the_end(golden, name):
    head, (test, _) = make_head(golden, **RUNS[name]), golden.split("test")
    order = torch.arange(len(test)) if name == "stored_order" else golden.inputs["tda_order"].long()
    check_caches(golden, head, head.seen(test[order][:, None]), f"tda_{name}")


def check_caches(golden, head, seen, name):
    out, labels = golden.outputs, seen.logits.argmax(1)
    if f"{name}/pred" in out:  # the classes under which images are filed
        assert labels.tolist() == out[f"{name}/pred"].tolist()
    for kept, kind in zip(head.histories(seen), ("pos", "neg"), strict=True):
        left = kept.place[kept.gone > len(labels)]
        counts = torch.bincount(labels[left], minlength=len(head.text))
        if f"{name}/{kind}_count" in out:
            assert counts.tolist() == out[f"{name}/{kind}_count"].tolist()
    if f"{name}/entropy" in out:
        golden.check(normalised_entropy(seen), f"{name}/entropy", 1e-5)


def test_views_of_each_image():
    """Sixty images of twenty views, two of which count; the shared part alone has them."""
    golden = NextGolden("shared-4", "tda")
    views, head = golden.inputs["tda_views"], make_head(golden)
    check_caches(golden, head, head.seen(views), "tda_views")
    logits = head.stream(views)
    golden.check(logits, "tda_views/logits", 1e-3)
    _, y_test = golden.split("test")
    accuracy = percent_right(logits.argmax(1), y_test[: len(views)])
    assert accuracy == pytest.approx(golden.outputs["tda_views/acc"].item(), abs=1e-3)


def test_half_precision_is_near(golden):
    """Their run in real half precision, statistically: where it agrees with single precision, so do we."""
    if "tda_fp16/acc" not in golden.outputs:
        golden.outputs |= NextGolden("shared-4", "tda_fp16").outputs
    head, (test, y_test) = make_head(golden), golden.split("test")
    order = golden.inputs["tda_order"].long()
    accuracy = percent_right(head.stream(test[order]).argmax(1), y_test[order])
    assert accuracy == pytest.approx(golden.outputs["tda_fp16/acc"].item(), abs=1.0)
