"""Evidence of a cache of moved keys: values and gradients against autograd on the formula as it is written."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from simnl.fewshot import cache
from simnl.fewshot.cache import Groups, cache_logits, inverse_norms, key_overlaps, slot_products, slot_sums

CLASSES, SHOTS, WIDTH, BATCH = 5, 3, 7, 11


def groups(labels: torch.Tensor) -> Groups:
    return Groups.of(labels, CLASSES)


def unit(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64), dim=-1)


SORTED = torch.arange(CLASSES).repeat_interleave(SHOTS)
UNEQUAL = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3, 3, 3, 4, 4, 4, 4, 4])
NOISY = torch.tensor([0, 0, 3, 1, 1, 1, 2, 4, 2, 3, 3, 0, 4, 4, 4])


@pytest.mark.parametrize(("movers", "speakers"), [(SORTED, SORTED), (UNEQUAL, UNEQUAL), (SORTED, NOISY)])
@pytest.mark.parametrize("block", [2**18, 20])
def test_values_and_gradients(movers, speakers, block, monkeypatch):
    monkeypatch.setattr(cache, "CACHED_NUMBERS", block)  # 20: a row at a time
    keys, weights = unit(len(movers), 0), torch.rand(len(movers), dtype=torch.float64)
    features = unit(BATCH, 1).requires_grad_()
    residual = (0.3 * unit(CLASSES, 2)).requires_grad_()
    outer = torch.randn(BATCH, CLASSES, dtype=torch.float64)

    (overlap,) = key_overlaps(keys, (residual,), groups(movers))
    inverse = inverse_norms(overlap, residual, groups(movers))
    ours = cache_logits(
        features @ keys.T, features @ residual.T, inverse, weights, 2.5, -2.5, groups(movers), groups(speakers)
    )
    moved = F.normalize(keys + residual[movers], dim=-1)
    hot = F.one_hot(speakers, CLASSES).double() * weights[:, None]
    plain = torch.exp(-2.5 * (1 - features @ moved.T)) @ hot
    torch.testing.assert_close(ours, plain)
    got = torch.autograd.grad((ours * outer).sum(), (features, residual), retain_graph=True)
    wanted = torch.autograd.grad((plain * outer).sum(), (features, residual))
    for g, w in zip(got, wanted, strict=True):
        torch.testing.assert_close(g, w)


@pytest.mark.parametrize("labels", [SORTED, UNEQUAL, torch.arange(CLASSES)], ids=["equal", "unequal", "one each"])
def test_several_residuals_share_a_pass_over_the_keys(labels):
    keys, residuals = unit(len(labels), 0), (unit(CLASSES, 1), unit(CLASSES, 2))
    for found, residual in zip(key_overlaps(keys, residuals, groups(labels)), residuals, strict=True):
        torch.testing.assert_close(found, (keys * residual[labels]).sum(-1))


def test_products_with_slot_wise_negative_keys_need_none_of_them():
    keys, features = unit(len(SORTED), 0), unit(BATCH, 1)
    sums, inverse = slot_sums(keys, SHOTS)
    negative = cache.slot_negative_keys(keys, CLASSES, SHOTS)
    products = slot_products(features @ keys.T, (features @ sums.T).unsqueeze(1), inverse)
    torch.testing.assert_close(products, features @ negative.T)


def test_a_sharpness_of_zero_counts_the_weights():
    keys, features = unit(len(SORTED), 0), unit(BATCH, 1)
    zero = torch.zeros(BATCH, CLASSES, dtype=torch.float64)
    ones = torch.ones(len(SORTED), dtype=torch.float64)
    logits = cache_logits(features @ keys.T, zero, ones, ones, 0.0, 0.0, groups(SORTED), groups(SORTED))
    assert torch.equal(logits, torch.full_like(logits, SHOTS))
