"""Adapters: caches of moved keys, with positive and negative keys of both kinds, against the keys formed one by one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from simnl.fewshot.adapters import (
    AXES,
    ClassNegativeKeys,
    MovedKeys,
    NegativeText,
    SlotNegativeKeys,
    SupportRows,
    TextMixture,
    cache_products,
    cache_terms,
)

CLASSES, SHOTS, WIDTH, BATCH, BETA = 5, 3, 7, 11, 2.5
SORTED = torch.arange(CLASSES).repeat_interleave(SHOTS)
NOISY = torch.tensor([0, 0, 3, 1, 1, 1, 2, 4, 2, 3, 3, 0, 4, 4, 4])
KINDS = [MovedKeys, ClassNegativeKeys, SlotNegativeKeys]


def unit(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64), dim=-1)


def make_caches(kind: type, labels: torch.Tensor, dtype: torch.dtype = torch.float64) -> list[MovedKeys]:
    """A positive cache, and one of a kind on the same rows, which are grouped by SORTED and speak for `labels`."""
    rows = SupportRows(unit(len(labels), 0), SORTED, labels, CLASSES)
    weights = torch.linspace(0.5, 1.5, len(labels), dtype=torch.float64)
    caches = [MovedKeys(rows, weights), kind(rows, weights, dtype)]
    caches[1].residual.data = (0.3 * unit(CLASSES, 2)).to(dtype)  # after some learning
    return caches


def evidence(caches: list[MovedKeys], f: torch.Tensor, products: torch.Tensor | None = None) -> torch.Tensor:
    """Of the second one."""
    return caches[1].logits(cache_terms(caches, f, products)[1], BETA)


@pytest.mark.parametrize("labels", [SORTED, NOISY], ids=["clean", "noisy"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_equals_that_of_keys_formed_one_by_one(kind, labels):
    caches, f, support = make_caches(kind, labels), unit(BATCH, 1), unit(len(labels), 0)
    wanted = torch.zeros(BATCH, CLASSES, dtype=torch.float64)
    for n, (mover, speaker) in enumerate(zip(SORTED.tolist(), labels.tolist(), strict=True)):
        weight = 0.5 + n / (len(labels) - 1)
        if kind is MovedKeys:
            key = support[n]
        elif kind is SlotNegativeKeys:
            key = sum(support[j] for j in range(n % SHOTS, len(labels), SHOTS) if SORTED[j] != mover)
        else:  # the key of the class for which the row speaks, with the row's weight
            mover, key = speaker, sum(support[j] for j in range(len(labels)) if SORTED[j] != speaker)
        moved = F.normalize(F.normalize(key, dim=-1) + caches[1].residual[mover], dim=-1).detach()
        cosine = f @ moved
        wanted[:, speaker] += weight * torch.exp(-BETA * ((1 - cosine) if kind is MovedKeys else cosine))
    torch.testing.assert_close(evidence(caches, f), wanted)
    products = torch.cat(cache_products(caches, f), dim=1)
    torch.testing.assert_close(evidence(caches, f, products), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_alone_is_learned_and_kept(kind):
    caches, f = make_caches(kind, SORTED), unit(BATCH, 1)
    cache = caches[1]
    assert [name for name, _ in cache.named_parameters()] == list(cache.state_dict()) == ["residual"]
    (grad,) = torch.autograd.grad(evidence(caches, f).square().sum(), cache.residual)
    assert grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_keys_before_they_are_moved_are_unit_rows(kind):
    keys = make_caches(kind, SORTED)[1].keys
    assert len(keys) == (CLASSES if kind is ClassNegativeKeys else len(SORTED))
    torch.testing.assert_close(keys.norm(dim=-1), torch.ones(len(keys), dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_residual_in_half_precision_moves_keys_in_full(kind):
    f = unit(BATCH, 1)
    full, half = (evidence(make_caches(kind, SORTED, d), f) for d in (torch.float64, torch.float16))
    assert half.dtype is torch.float64
    torch.testing.assert_close(half, full, atol=1e-2, rtol=1e-3)


def test_caches_share_their_support_rows_also_after_a_move():
    rows = SupportRows(unit(len(SORTED), 0), SORTED, SORTED, CLASSES)
    weights = torch.ones(len(SORTED), dtype=torch.float64)
    both = torch.nn.ModuleList([MovedKeys(rows, weights), SlotNegativeKeys(rows, weights)]).to(torch.float32)
    assert both[0].rows.keys.dtype is torch.float32
    assert both[0].rows.keys is both[1].rows.keys


def test_slot_wise_keys_need_equal_classes():
    labels = torch.tensor([0, 0, 1, 2, 2])
    rows = SupportRows(unit(5, 0), labels, labels, 3)
    with pytest.raises(ValueError, match=r"same number of images.*TRAINER\.SIMNL\.NEGATIVE_KEYS"):
        SlotNegativeKeys(rows, torch.ones(5, dtype=torch.float64))


def test_text():
    template, cupl, f = unit(CLASSES, 3), unit(CLASSES, 4), unit(BATCH, 1)
    mixture = TextMixture(template, cupl, 0.3, AXES["channel"], torch.float64)
    torch.testing.assert_close(mixture(), 0.7 * template + 0.3 * cupl)
    assert [name for name, _ in mixture.named_parameters()] == ["template.residual", "cupl.residual"]
    alone = TextMixture(template, None, 0.3, AXES["class"], torch.float64)
    torch.testing.assert_close(alone(), template)
    torch.testing.assert_close(alone.anchors, template)
    assert [name for name, _ in alone.named_parameters()] == ["template.residual"]
    anchors = 0.7 * template / template.norm(dim=0) + 0.3 * cupl / cupl.norm(dim=0)
    torch.testing.assert_close(mixture.anchors, anchors)
    negative = NegativeText(template, 1.5, torch.float64)
    torch.testing.assert_close(negative.logits(f), 1.5 - 1.5 * f @ template.T)
