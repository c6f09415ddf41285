"""Whitening and unmixing: unit variance, no correlation, and products that do not depend on the rotation."""

from __future__ import annotations

import pytest
import torch

from simnl.fewshot.unmixing import unmixing, whitening


def mixed(rows: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows mixed from independent sources that are far from normal, and the mixing matrix."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.rand(rows, width, generator=generator, dtype=torch.float64) - 0.5
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return sources @ mixing.T + 3, mixing


@pytest.mark.parametrize("function", [whitening, lambda rows: unmixing(rows, seed=1)])
def test_unit_variance_without_correlation(function):
    rows, _ = mixed(400, 6)
    u = function(rows)
    z = (rows - rows.mean(0)) @ u.T
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(6, dtype=torch.float64), atol=1e-6, rtol=0)


def test_products_do_not_depend_on_the_rotation():
    rows, _ = mixed(400, 6)
    white, turned = whitening(rows), unmixing(rows, seed=1)
    assert not torch.allclose(white, turned, atol=1e-2)
    torch.testing.assert_close(turned.T @ turned, white.T @ white, atol=1e-8, rtol=1e-8)
    covariance = torch.cov(rows.T, correction=0)
    torch.testing.assert_close(white.T @ white, torch.linalg.inv(covariance), atol=1e-8, rtol=1e-8)


def test_sources_are_found_up_to_order_sign_and_length():
    rows, mixing = mixed(4000, 4)
    through = (unmixing(rows, seed=1) @ mixing).abs()
    assert (through.max(1).values > 10 * through.kthvalue(3, dim=1).values).all()
    assert sorted(through.argmax(1).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(("rows", "number"), [(3, 1), (12, 2), (29, 5), (400, 6)])
def test_few_rows_give_few_components(rows, number):
    features = mixed(rows, 6)[0].float()
    for u in (whitening(features), unmixing(features, seed=1)):
        assert u.shape == (number, 6)
        assert u.dtype == torch.float32
        assert u.isfinite().all()


def test_equal_rows_give_finite_numbers():
    assert whitening(torch.ones(40, 4)).isfinite().all()


def test_the_seed_decides():
    rows, _ = mixed(200, 5)
    assert torch.equal(unmixing(rows, seed=1), unmixing(rows, seed=1))
