"""TDA against the loop over images that its formula is, in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from yacs.config import CfgNode as CN

from helpers.methods import make_trainer
from trainers.tda import Cache, TDAHead, kept_images

CLASSES, WIDTH = 4, 6


def text() -> torch.Tensor:
    return F.normalize(torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0)).double(), dim=-1)


def stream(number: int = 60) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    rows = text()[torch.randint(CLASSES, (number,), generator=g)]
    return 3 * (rows + 0.6 * torch.randn(number, WIDTH, generator=g))


def make_head(**options) -> TDAHead:
    caches = {"positive": Cache(3, 2.0, 5.0), "negative": Cache(2, 0.5, 1.0)}
    ranges = {"doubtful": (0.1, 0.55), "possible": (0.03, 0.9)}
    return TDAHead(text=text(), logit_scale=5.0, **({"seed": 1} | caches | ranges | options))


def naive(features: torch.Tensor, positive: Cache, negative: Cache, doubtful, possible) -> torch.Tensor:
    """One image after the other; caches are lists of (entropy, feature, probabilities)."""
    caches: list[dict[int, list]] = [{}, {}]
    rows = []
    for views in features if features.ndim == 3 else features[:, None]:
        seen = []
        for x in views:
            f = x / x.norm()
            logits = [5.0 * float(f @ t) for t in text()]
            total = sum(map(math.exp, logits))
            p = [math.exp(v) / total for v in logits]
            seen.append((-sum(q * math.log(q) for q in p), f, logits, p))
        seen = sorted(seen, key=lambda one: one[0])[: max(1, len(views) // 10)]
        f = sum(one[1] for one in seen) / len(seen)
        logits, p = (
            [sum(v) / len(seen) for v in zip(*parts, strict=True)] for parts in list(zip(*seen, strict=True))[2:]
        )
        entropy = -sum(q * math.log(q) for q in p)
        label = logits.index(max(logits))
        item = (entropy, f, p)
        for cache, rule, wanted in (
            (caches[0], positive, True),
            (caches[1], negative, doubtful[0] < entropy / math.log2(CLASSES) < doubtful[1]),
        ):
            mine = cache.setdefault(label, [])
            if not wanted:
                continue
            if len(mine) < rule.capacity:
                mine.append(item)
            elif entropy < mine[-1][0]:
                mine[-1] = item
            mine.sort(key=lambda one: one[0])
        for label, items in caches[0].items():
            for _, key, _ in items:
                logits[label] += positive.alpha * math.exp(-positive.beta * (1 - float(f @ key)))
        for items in caches[1].values():
            for _, key, q in items:
                for c in range(CLASSES):
                    masked = possible[0] < q[c] < possible[1]
                    logits[c] -= masked * negative.alpha * math.exp(-negative.beta * (1 - float(f @ key)))
        rows.append(logits)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("options", [{}, {"positive": Cache(1, 4.0, 8.0)}, {"negative": Cache(1, 2.0, 3.0)}])
def test_logits_equal_a_loop_over_the_images(options):
    head = make_head(**options)
    wanted = naive(stream(), head.positive, head.negative, head.doubtful, head.possible)
    torch.testing.assert_close(head.stream(stream()), wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("number", [3, 30])
def test_views_of_an_image_count_where_they_are_certain(number):
    g = torch.Generator().manual_seed(2)
    views = stream(20)[:, None] + torch.randn(20, number, WIDTH, generator=g)
    head = make_head()
    wanted = naive(views, head.positive, head.negative, head.doubtful, head.possible)
    torch.testing.assert_close(head.stream(views), wanted, atol=1e-9, rtol=0)
    torch.testing.assert_close(head.stream(stream()[:, None]), head.stream(stream()), atol=0, rtol=0)


def test_blocks_change_nothing(monkeypatch):
    whole = make_head().stream(stream())
    monkeypatch.setattr("trainers.tda.BLOCK_NUMBERS", 100)
    torch.testing.assert_close(make_head().stream(stream()), whole, atol=1e-12, rtol=0)


def test_without_weights_it_is_zero_shot():
    head = make_head(positive=Cache(3, 0.0, 5.0), negative=Cache(2, 0.0, 1.0))
    torch.testing.assert_close(head.transduce(stream()), head(stream()))


def test_the_first_image_finds_itself():
    head = make_head(negative=Cache(2, 0.0, 1.0))
    logits, plain = head.stream(stream(1)), head(stream(1))
    hot = F.one_hot(plain.argmax(1), CLASSES)
    torch.testing.assert_close(logits, plain + 2.0 * hot)


def test_no_image_depends_on_those_that_come_later():
    torch.testing.assert_close(make_head().stream(stream())[:30], make_head().stream(stream()[:30]))


def test_logits_come_back_in_the_order_of_the_images_and_the_seed_decides_the_stream():
    head = make_head()
    logits = head.transduce(stream())
    torch.testing.assert_close(make_head().transduce(stream()), logits)
    assert not torch.allclose(make_head(seed=2).transduce(stream()), logits)
    assert (logits - head(stream())).abs().max() < 6  # each image has its own zero-shot logits in its row


def test_a_full_class_takes_only_what_is_less_uncertain():
    kept = kept_images([(0, 1, 0.5), (1, 1, 0.3), (2, 1, 0.5), (3, 1, 0.4), (4, 0, 0.9), (5, 1, 0.1)], 2)
    assert kept.place.tolist() == [0, 1, 3, 4, 5]
    forever = torch.iinfo(torch.int64).max
    assert kept.gone.tolist() == [3, forever, 5, forever, forever]


@pytest.mark.parametrize("change", [{"NEGATIVE": {"CAPACITY": 0}}, {"TEST_VIEWS": 0}])
def test_a_number_of_zero_is_refused(change):
    from helpers.methods import make_task

    trainer = make_trainer("TDA")
    node = trainer.node.clone()
    node.defrost()
    node.merge_from_other_cfg(CN(change))
    with pytest.raises(ValueError, match="must be at least 1"):
        trainer.build_head(make_task(1), node)
